"""The best submatrix against every submatrix, and its refusals."""

import pytest
import torch

from amends import AmendsError, BadInput
from amends_distillation.transfer.cutting import Cut, best_submatrix, window_sums


def every_sum(values, rows, columns):
    height, width = values.shape
    return torch.tensor(
        [
            [values[i : i + rows, j : j + columns].sum() for j in range(width - columns + 1)]
            for i in range(height - rows + 1)
        ]
    )


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (3, 2), (5, 9), (7, 9), (7, 1)])
def test_the_sums_of_all_submatrices_are_those_of_the_double_loop(rows, columns):
    values = torch.rand(7, 9, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    torch.testing.assert_close(window_sums(values, rows, columns), every_sum(values, rows, columns))


def test_the_best_submatrix_is_where_the_largest_sum_is():
    values = torch.rand(40, 30, generator=torch.Generator().manual_seed(5))
    sums = every_sum(values.double(), 6, 4)
    found = best_submatrix(values, 6, 4)
    assert sums[found.row, found.column] == sums.max()
    assert found.of(values).shape == (6, 4)


def test_of_equal_submatrices_the_first_is_taken():
    assert best_submatrix(torch.ones(5, 5), 2, 2) == Cut(0, 0, 2, 2)


def test_a_matrix_of_the_same_size_is_taken_whole():
    assert best_submatrix(torch.ones(3, 4), 3, 4) == Cut(0, 0, 3, 4)


def test_a_student_that_is_wider_than_its_teacher_is_refused():
    with pytest.raises(BadInput, match="4 x 2 does not fit into the teacher's of 3 x 4"):
        best_submatrix(torch.ones(3, 4), 4, 2)


def test_a_sensitivity_that_is_nan_is_refused():
    with pytest.raises(AmendsError, match="NaN"):
        best_submatrix(torch.full((3, 3), float("nan")), 2, 2)
