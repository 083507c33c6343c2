"""The log and the bar: what they count from, and what they say after a resume."""

import json
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from reference import refuses
from scratch.plumbing.files import read_log
from scratch.plumbing.training import log as journal
from scratch.plumbing.training.log import Journal, resume_log
from scratch.training import StepRecord


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock that a test sets, for the journal and for the bar."""
    clock = SimpleNamespace(time=1_000.0)
    monkeypatch.setattr(journal.time, "monotonic", lambda: clock.time)
    monkeypatch.setattr("tqdm.std.time", lambda: clock.time)
    return clock


def record(step: int, tokens: int = 100) -> StepRecord:
    return StepRecord(step, 1, float(step), 1e-3, 0.5, tokens)


def begin(log: Path, done: int) -> Journal:
    return Journal(log, 1_000, done)


def lines(j: Journal) -> list[dict[str, float]]:
    return [json.loads(line) for line in Path(j.file.name).read_text().splitlines()]


@pytest.mark.parametrize("done", [0, 600])
def test_clock_and_bar_start_with_the_first_batch(
    done: int, now: SimpleNamespace, tmp_path: Path
) -> None:
    j = begin(tmp_path / "log", done)
    now.time += 30  # texts are read and cut
    j.start()
    for step, seconds in ((1, 1), (2, 2), (3, 3)):
        now.time += seconds
        j.write(record(done + step))
    assert [line["seconds"] for line in lines(j)] == [1, 3, 6]
    left = 2 * (1_000 - done - 3)
    assert f"{done + 3}/1000 [00:06<{left // 60:02}:{left % 60:02}, " in str(j.bar)
    assert "tokens_per_s=50" in str(j.bar)


def test_the_speed_is_that_of_the_recent_steps(now: SimpleNamespace, tmp_path: Path) -> None:
    j = begin(tmp_path / "log", 0)
    j.start()
    for step in range(1, 101):
        now.time += 10
        j.write(record(step))
    assert j.speed() == "10"
    for step in range(101, 101 + journal.RECENT):
        now.time += 1
        j.write(record(step))
    assert j.speed() == "100"


def test_every_step_has_a_line_and_moves_the_bar(now: SimpleNamespace, tmp_path: Path) -> None:
    j = begin(tmp_path / "log", 38)
    j.start()
    for step in range(39, 62):
        j.write(record(step))
        assert j.bar.n == step
    assert [(line["step"], line["loss"]) for line in lines(j)] == [(n, n) for n in range(39, 62)]


def test_a_log_goes_on_where_the_checkpoint_stood(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text('{"recipe": "x"}\n')
    steps = [{"step": n, "loss": 1.0} for n in range(1, 6)]
    with log.open("a") as file:
        end = {"step": 3, "ended": True, "dev_bleu": {}}  # it was ended, and its model not saved
        file.writelines(json.dumps(line) + "\n" for line in [*steps[:3], end, *steps[3:]])
        file.write('{"step": 6, "lo')
    resume_log(log, {"recipe": "y"}, 3, {"threads": 2})
    resumed = {"step": 3, "resumed": {"threads": 2}}
    assert read_log(log) == [{"recipe": "x"}, *steps[:3], resumed]
    resume_log(log, {"recipe": "y"}, 0, {"threads": 2})
    assert read_log(log) == [{"recipe": "x"}, {"step": 0, "resumed": {"threads": 2}}]
    log.unlink()
    resume_log(log, {"recipe": "y"}, 3, {"threads": 2})
    assert read_log(log) == [{"recipe": "y"}, resumed]
    assert [path.name for path in tmp_path.iterdir()] == ["log.jsonl"]
    log.write_text("nonsense")
    refuses(lambda: read_log(log), str(log))


def curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard itself would draw."""
    accumulator = EventAccumulator(str(folder))
    accumulator.Reload()
    return {
        name: [(e.step, e.value) for e in accumulator.Scalars(name)]
        for name in accumulator.Tags()["scalars"]
    }


def test_the_events_are_what_the_log_says_after_a_resume_too(tmp_path: Path) -> None:
    log, events = tmp_path / "log", str(tmp_path / "events")
    log.write_text('{"recipe": "x"}\n')
    for begun, ended in ((0, 6), (4, 8)):  # killed after step 6, its checkpoint was of step 4
        if begun:
            resume_log(log, {}, begun, {})
        with closing(Journal(log, 8, begun, hidden=True, events=events)) as j:
            j.start()
            for step in range(begun + 1, ended + 1):
                j.write(record(step, tokens=100 + ended))
    j.file.close()
    found, entries = curves(Path(events)), [e for e in read_log(log) if "loss" in e]
    assert [e["step"] for e in entries] == list(range(1, 9))
    assert set(found) == set(entries[0]) - {"step"}
    for name, points in found.items():
        assert [step for step, _ in points] == list(range(1, 9))
        assert [v for _, v in points] == pytest.approx([e[name] for e in entries], rel=1e-6), name
    assert found["tokens"][4] == (5, 108.0)  # the second time counts
