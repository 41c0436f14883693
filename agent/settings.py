"""Settings: what one run of the agent is told; every field explains itself (`columnist config init`)."""

import os
import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo

from drivers.addresses import check_bound, endpoint
from drivers.contract.context import DETECTORS, EnergyKev, Message, parse_detector
from drivers.contract.errors import InputError
from drivers.contract.materials import DOPANTS, HOSTS, dopants_of

Seconds = Annotated[float, Field(gt=0, le=86400)]
Nats = Annotated[float, Field(ge=0, le=1.61)]
Mode = Literal["observe", "advise", "auto"]
Defect = Literal["vac1", "vac2", "dopant"]


def _check_reach(address: str, told: ValidationInfo) -> str:
    """Return an address that only this machine reaches, or any if there are keys; or raise `ValueError`."""
    is_own = re.fullmatch(r"tcp://(127(\.\d{1,3}){3}|localhost):(\d{1,5}|\*)|(ipc|inproc)://.+", address)
    if not is_own and told.data.get("keys") is None:
        raise ValueError(
            "an address of this machine alone, such as tcp://127.0.0.1:5882, or publish.keys for any other"
        )
    check_bound(address)
    return address


def _check_bridge(address: str) -> str:
    """Return an address that a bridge may have, or raise `ValueError`."""
    try:
        endpoint(address)
    except InputError:
        raise ValueError("the address of a bridge, such as tcp://127.0.0.1:5555") from None
    return address


def _check_host(host: str | None) -> str | None:
    """Return a host that is known, or raise `ValueError`."""
    if host is not None and host not in HOSTS:
        raise ValueError(f"one of {', '.join(HOSTS)}")
    return host


def _check_dopant(dopant: str | None, info: ValidationInfo) -> str | None:
    """Return a dopant that goes with the host, as far as that is given, or raise `ValueError`."""
    host = info.data.get("host")
    possible = DOPANTS if host is None else dopants_of(host)
    if dopant is not None and dopant not in ("none", *possible):
        of = f", the dopants of {host}" if host else ""
        raise ValueError(f'"none" or one of {", ".join(possible)}{of}')
    return dopant


def _check_detector(detector: str | None) -> str | None:
    """Return a detector that is known by name or written as an annulus, or raise `ValueError`."""
    if detector is not None:
        try:
            parse_detector(detector)
        except InputError:
            raise ValueError(f"{', '.join(DETECTORS)} or INNER-OUTER in mrad") from None
    return detector


def _expand_home(path: str) -> str:
    """Return a path with the home folder for a leading ``~``, which no shell has seen to in a file."""
    return os.path.expanduser(path)


Reach = Annotated[str, AfterValidator(_check_reach)]
FilePath = Annotated[str, AfterValidator(_expand_home)]


class ContextSettings(Message):
    """What the operator says of the specimen and the optics; it fills what frames do not say."""

    host: Annotated[str | None, AfterValidator(_check_host)] = Field(
        default=None, description='Host monolayer, for example "WSe2".', examples=["WSe2"]
    )
    dopant: Annotated[str | None, AfterValidator(_check_dopant)] = Field(
        default=None, description='Dopant, for example "Ti", or "none".', examples=["Ti"]
    )
    energy_kev: EnergyKev | None = Field(
        default=None, description="Beam energy [keV]; 80, not 80000.", examples=[80.0]
    )
    detector: Annotated[str | None, AfterValidator(_check_detector)] = Field(
        default=None,
        description='Detector: "HAADF", "MAADF", or an annulus such as "35-120" in mrad.',
        examples=["HAADF"],
    )
    convergence_mrad: Annotated[float, Field(gt=0, le=500)] | None = Field(
        default=None, description="Convergence semi-angle [mrad].", examples=[30.0]
    )
    pixel_size_angstrom: Annotated[float, Field(gt=0, le=1000)] | None = Field(
        default=None, description="Edge of a pixel [Å], where frames do not know it.", examples=[0.2]
    )
    override: tuple[
        Literal["host", "dopant", "energy_kev", "detector", "convergence_mrad", "pixel_size_angstrom"], ...
    ] = Field(
        default=(),
        description="Fields of this table that count even where a frame or the instrument differs.",
    )


class SourceSettings(Message):
    """Where frames come from."""

    connect: Annotated[str, AfterValidator(_check_bridge)] = Field(
        default="tcp://127.0.0.1:5555",
        description="Control address of the bridge that serves the microscope.",
    )
    keys: FilePath | None = Field(
        default=None,
        description="Folder of keys (`columnist keys`) for a bridge that asks for one.",
        examples=["keys"],
    )
    command_timeout_s: Seconds = Field(
        default=20.0, description="How long a command may take until it counts as failed [s]."
    )


class AnalysisSettings(Message):
    """How frames become maps.  Recorded with the session, so that a replay does the same."""

    network: str = Field(default="mlp-simple", description="Shipped weights that classify the columns.")
    device: str = Field(default="cpu", description='Where frames are read: "cpu" or "cuda".')
    threads: Annotated[int, Field(ge=1, le=256)] = Field(
        default=2, description="Threads of the analysis on the CPU at most; frames below 700 x 700 take one."
    )


class PolicySettings(Message):
    """When the agent asks for something, and what it may do by itself."""

    mode: Mode = Field(
        default="advise",
        description="observe: no requests; advise: every request waits for the operator; "
        "auto: within [limits] the agent acts.",
    )
    rule: Literal["value", "entropy"] = Field(
        default="value",
        description="What requests rest on: value: all evidence, and the scan that is expected to tell most "
        "for its dose and time; entropy: another detector above a threshold, nothing else.",
    )
    least_gain_nats: Annotated[float, Field(gt=0)] = Field(
        default=1.0, description="value: nothing is asked for that is expected to tell less [nats]."
    )
    electrons_per_s: Annotated[float, Field(ge=0)] = Field(
        default=1e6, description="value: dose that a second of waiting counts as [electrons]."
    )
    advantage: Annotated[float, Field(ge=1)] = Field(
        default=1.3,
        description="value: a switch must be better than all that needs none by this factor.",
    )
    drift_angstrom_per_s: Annotated[float, Field(gt=0)] = Field(
        default=2.0,
        description="value: velocity that the specimen may drift with unseen, standard deviation [Å/s].",
    )
    entropy_nats: Nats = Field(
        default=0.02,
        description="entropy: a mean entropy of a frame's columns above this asks for the other detector "
        "[nats].",
    )
    margin_nats: Nats = Field(
        default=0.005,
        description="entropy: a detector that was seen before must promise this much less entropy [nats].",
    )
    settle_frames: Annotated[int, Field(ge=1, le=10000)] = Field(
        default=3,
        description="entropy: frames above the threshold, one after another, before a request is made.",
    )
    cooldown_frames: Annotated[int, Field(ge=0, le=100000)] = Field(
        default=10,
        description="entropy: frames mapped after a request has ended before the next may be made; value: "
        "maps that must come before what was denied, expired or failed is asked for again.",
    )
    expiry_s: Seconds = Field(
        default=120.0, description="A request that nobody answered ends after this [s]."
    )
    when_behind: Literal["newest", "every"] = Field(
        default="newest",
        description="When frames come faster than they are analysed: newest: take the newest and skip the "
        "others, recorded and counted; every: analyse each, and let the instrument wait.",
    )


class LimitSettings(Message):
    """Hard limits that no mode passes; they are checked before anything is sent."""

    detectors: tuple[str, ...] = Field(
        default=("HAADF", "MAADF"), description="Detectors that may be switched to by the agent."
    )
    energies_kev: tuple[EnergyKev, ...] = Field(
        default=(), description="Beam energies [keV] that may be set; empty: the energy is never changed."
    )
    energy_without_asking: bool = Field(
        default=False, description="Whether auto may change the beam energy without the operator's approval."
    )
    above_knock_on: bool = Field(
        default=False,
        description="Whether the agent may ask for an energy at which the beam knocks chalcogens out of the "
        "host.",
    )
    dose_e_per_a2: Annotated[float, Field(ge=0)] = Field(
        default=2e6,
        description="Nothing is sent that would bring a region of the specimen above this dose [e/Å²], all "
        "frames counted; 0: no such limit.",
    )
    region_nm: Annotated[float, Field(gt=0, le=1000)] = Field(
        default=2.0, description="Edge of the regions that doses are kept of [nm]."
    )
    requests_per_minute: Annotated[int, Field(ge=0, le=600)] = Field(
        default=6, description="Most requests sent to the instrument in a minute."
    )


class GoalSettings(Message):
    """What a session is for; the agent says when it is reached or cannot be, and then asks for no more."""

    entropy_nats: Annotated[float, Field(gt=0, le=1.61)] | None = Field(
        default=None, description="Know the columns in view to this entropy [nats].", examples=[0.1]
    )
    fraction: Annotated[float, Field(gt=0, le=1)] = Field(
        default=1.0, description="Part of the columns in view that entropy_nats is asked of."
    )
    mean_entropy_nats: Annotated[float, Field(gt=0, le=1.61)] | None = Field(
        default=None,
        description="Know the columns in view to this entropy on average [nats].",
        examples=[0.01],
    )
    defects_f1: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        default=None,
        description="Find the defects in view to this F1, as the evidence lets expect it.",
        examples=[0.98],
    )
    defect: Defect | None = Field(
        default=None,
        description='Measure the concentration of "vac1", "vac2" or "dopant".',
        examples=["dopant"],
    )
    relative: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.1, description="Half of the concentration's 95 % interval over its value that is asked for."
    )
    dose_e_per_a2: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="Ask for no more once a column has taken this dose [e/Å²].", examples=[1e6]
    )


class WatchSettings(Message):
    """What counts as trouble."""

    no_frame_s: Seconds = Field(default=30.0, description="Warn when no frame has come for this long [s].")
    heartbeat_s: Seconds = Field(
        default=1.0, description="Time between heartbeats on the publishing socket [s]."
    )
    health_s: Seconds = Field(
        default=5.0, description="Time between measurements of memory, disk and threads [s]."
    )
    checkpoint_s: Seconds = Field(default=60.0, description="Time between checkpoints of the journal [s].")
    disk_free_gib: Annotated[float, Field(ge=0)] = Field(
        default=1.0, description="Warn when less than this is free where sessions are kept [GiB]."
    )


class PublishSettings(Message):
    """The sockets of the agent; port 0 takes a free one."""

    keys: FilePath | None = Field(
        default=None,
        description="Folder of keys (`columnist keys`); only their holders get in.  Addresses that other "
        "machines reach need it.",
        examples=["keys"],
    )
    maps: Reach = Field(
        default="tcp://127.0.0.1:5880", description="PUB socket: maps, requests, rejections, health."
    )
    snapshot: Reach = Field(
        default="tcp://127.0.0.1:5881",
        description="Answers with the last of every topic, for who joins late.",
    )
    control: Reach = Field(default="tcp://127.0.0.1:5882", description="Takes approve, deny, mode and stop.")
    metrics_port: Annotated[int, Field(ge=0, lt=65536)] = Field(
        default=0, description="Port of the loopback for Prometheus (GET /metrics); 0: none."
    )
    documents: bool = Field(
        default=True, description="Whether to publish bluesky documents too (topic doc/...)."
    )
    queue: Annotated[int, Field(ge=1, le=100000)] = Field(
        default=200, description="Messages kept for a slow listener before it loses some (it can tell)."
    )


class SessionSettings(Message):
    """Where sessions are kept and when one ends."""

    folder: FilePath = Field(
        default="out/sessions", description="Every run makes a folder of its own in here."
    )
    max_maps: Annotated[int, Field(ge=0)] = Field(
        default=0, description="Stop after this many maps; 0: until told to stop."
    )
    budget_gib: Annotated[float, Field(ge=0)] = Field(
        default=0.0, description="Most that sessions may take on disk [GiB]; 0: as much as there is."
    )
    delete: Literal["nothing", "exported", "any"] = Field(
        default="nothing",
        description="What may be deleted to keep the budget, oldest first: nothing; exported: ended sessions "
        "of which `columnist export` has written every frame; any: ended sessions.",
    )
    report: bool = Field(
        default=True, description="Write overlay, summary and HTML report when the session ends."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least level of the log (JSON lines in the session's folder)."
    )


class Settings(Message):
    """Everything that one run is told."""

    session: SessionSettings = SessionSettings()
    source: SourceSettings = SourceSettings()
    context: ContextSettings = ContextSettings()
    analysis: AnalysisSettings = AnalysisSettings()
    policy: PolicySettings = PolicySettings()
    limits: LimitSettings = LimitSettings()
    goals: GoalSettings = GoalSettings()
    watch: WatchSettings = WatchSettings()
    publish: PublishSettings = PublishSettings()


class Rules(Message):
    """The part of the settings that decisions rest on; recorded in the journal's first entry."""

    context: ContextSettings = ContextSettings()
    policy: PolicySettings = PolicySettings()
    limits: LimitSettings = LimitSettings()
    goals: GoalSettings = GoalSettings()
    watch: WatchSettings = WatchSettings()
    command_timeout_s: Seconds = 20.0
    max_maps: Annotated[int, Field(ge=0)] = 0
    end_with_source: bool = False


def rules_of(settings: Settings, *, end_with_source: bool = False) -> Rules:
    """Take out of the settings what `decide` needs."""
    return Rules(
        context=settings.context,
        policy=settings.policy,
        limits=settings.limits,
        goals=settings.goals,
        watch=settings.watch,
        command_timeout_s=settings.source.command_timeout_s,
        max_maps=settings.session.max_maps,
        end_with_source=end_with_source,
    )
