"""What `hotloop status` says of a session's newest sample."""

from hotloop import events
from hotloop.cli.status import figures

GPU = events.GpuSample("NVIDIA H100 80GB HBM3", 14_200_000_000, 85_900_000_000, 0.97, 0.41, 412.4, 700.0)
GAUGES = (events.GaugeSample("kv pages", 850.0, 1000.0), events.GaugeSample("running", 1.5))


def test_the_newest_figures_of_a_session_are_shown():
    endpoints = (
        events.EndpointSample("/embed", 412.0, 3, 8, p95_s=0.0412),
        events.EndpointSample("/chat", 0.0, 0, 1),
        events.EndpointSample("/idle", 0.0, 0, 0),
    )
    sample = events.RuntimeSampled(1.0, 1.0, endpoints, 1_200_000_000, (GPU,), GAUGES)

    assert figures(events.to_json(sample)) == [
        "  memory: 1.2 GB",
        "  /embed: 412/s, 3 waiting, 8 running, p95 41 ms",
        "  /chat: 0.00/s, 0 waiting, 1 running",
        "  kv pages: 850 of 1,000",
        "  running: 1.5",
        "  NVIDIA H100 80GB HBM3: 14 GB of 86 GB used, SM active 41%, 412 W",
    ]
    assert figures(None) == []
