from amends import ProbeTask, host
from amends.serving import open_version


def test_throughput_is_a_positive_speed_between_its_slowest_and_its_fastest_pass(tiny_version, tmp_path):
    loaded = host.load()
    task = ProbeTask(tmp_path, 0, model_path=tiny_version, open_model=lambda path: open_version(path, loaded))
    (reading,) = loaded.probe("utility.throughput")(task)
    assert reading.name == "utility.throughput/forward" and reading.unit == "tokens per second"
    assert 0 < reading.low <= reading.value <= reading.high
