"""The evidence of a session, kept where maps are weighed: in a thread of its own, or in a replay."""

from agent.actions import WeighEvidence
from agent.assessment import Assessment
from agent.frames import FrameRef
from agent.mind import Means, Mind, consider, reconsider
from agent.settings import AnalysisSettings, Rules
from drivers.contract.header import FrameHeader
from drivers.contract.instrument import Capabilities
from drivers.contract.maps import DefectMap
from models.fusion_law import load_shipped_law


class EvidenceWeigher:
    """Keeps a `Mind`, and the maps that it has still to consider.

    Parameters
    ----------
    settings : AnalysisSettings
        Its network decides by which law evidence adds up.

    Raises
    ------
    InputError
        If there is no such law.
    """

    def __init__(self, settings: AnalysisSettings) -> None:
        self._law = load_shipped_law(settings.network)
        self._held: dict[FrameRef, tuple[DefectMap, FrameHeader]] = {}
        self.mind = Mind()

    def hold(self, frame: FrameRef, defect_map: DefectMap, header: FrameHeader) -> None:
        """Keep a map until it is weighed or left out."""
        self._held[frame] = (defect_map, header)

    def leave_out(self, frame: FrameRef) -> None:
        """Forget a map."""
        self._held.pop(frame, None)

    def weigh(self, order: WeighEvidence, capabilities: Capabilities | None, rules: Rules) -> Assessment:
        """Enter a map that is held, or choose anew."""
        means = Means(rules, self._law, capabilities)
        if order.is_again:
            return reconsider(self.mind, order.situation, means)
        defect_map, header = self._held.pop(order.frame)
        self.mind, assessment = consider(self.mind, defect_map, header, order.situation, means)
        return assessment
