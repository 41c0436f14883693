from agent.herald import Herald, Timing
from agent.logs import LogFile, open_log
from drivers.contract.maps import DefectMap, MapFlag


class Unheard:
    def publish_map(self, packed, **times):
        pass


def test_a_flag_is_told_when_it_comes_and_again_after_it_was_gone(make, tmp_path):
    herald = Herald(Unheard(), open_log(LogFile(tmp_path / "log"), "info", "s1"), lambda: 5.0)

    def publish(detector, *kinds):
        flags = tuple(MapFlag(kind=kind, message=f"of {kind}") for kind in kinds)
        header = make.map_header(0.1, detector).model_copy(update={"flags": flags})
        herald.publish_map(DefectMap(header, make.columns_of(1000)), None, None, Timing(1.0, 1.0))
        said = [line.split(" ", 1)[1] for line in herald.lines]
        herald.lines.clear()
        return said

    assert publish("HAADF", "spikes") == ["frame None, HAADF: spikes: of spikes"]
    assert publish("HAADF", "spikes", "lost_rows") == ["frame None, HAADF: lost_rows: of lost_rows"]
    assert publish("MAADF", "spikes") == ["frame None, MAADF: spikes: of spikes"]
    assert publish("HAADF") == []
    assert publish("HAADF", "spikes") == ["frame None, HAADF: spikes: of spikes"]
