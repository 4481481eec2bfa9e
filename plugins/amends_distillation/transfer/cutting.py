"""The contiguous submatrix of a matrix whose sensitivities sum to most (PKT, Zhong et al., 2024, section 3.1)."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from amends import AmendsError, BadInput


class Cut(NamedTuple):
    """Where a submatrix lies.

    Args:
        row: Its first row.
        column: Its first column.
        rows: How many rows it has.
        columns: How many columns.
    """

    row: int
    column: int
    rows: int
    columns: int

    def of(self, matrix: Tensor) -> Tensor:
        """Return the submatrix, a view."""
        return matrix[self.row : self.row + self.rows, self.column : self.column + self.columns]


def best_submatrix(sensitivity: Tensor, rows: int, columns: int) -> Cut:
    """Return the contiguous submatrix of a size with the largest sum; of equal ones the first, by row and column.

    A summed-area table makes the sum of every submatrix a difference of four of its entries, so that all of them
    cost two cumulative sums.

    Args:
        sensitivity: What is summed, shape (N, M).
        rows: Rows of the submatrix, at most N.
        columns: Its columns, at most M.

    Raises:
        BadInput: The submatrix is larger than the matrix.
        AmendsError: A sensitivity is NaN or infinite.
    """
    height, width = sensitivity.shape
    if not (1 <= rows <= height and 1 <= columns <= width):
        raise BadInput(
            f"the student's matrix of {rows} x {columns} does not fit into the teacher's of {height} x {width}; take a "
            "teacher that is at least as wide"
        )
    if not bool(sensitivity.isfinite().all()):
        raise AmendsError("a sensitivity is NaN or infinite; look whether the teacher works on these records")
    sums = window_sums(sensitivity, rows, columns)
    place = int(sums.argmax())
    return Cut(place // sums.shape[1], place % sums.shape[1], rows, columns)


def window_sums(values: Tensor, rows: int, columns: int) -> Tensor:
    """Return the sum of every contiguous submatrix of a size, shape (N - rows + 1, M - columns + 1), in float64."""
    table = values.new_zeros(values.shape[0] + 1, values.shape[1] + 1, dtype=values.double().dtype)
    table[1:, 1:] = values.double().cumsum(0).cumsum(1)
    below, right = table[rows:], slice(columns, None)
    above, left = table[: table.shape[0] - rows], slice(None, table.shape[1] - columns)
    return below[:, right] - above[:, right] - below[:, left] + above[:, left]
