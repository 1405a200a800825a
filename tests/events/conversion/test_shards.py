"""Shares of a set for several jobs: disjoint, together all, even in bytes, and the same in every job."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_events_conversion import write_dat

from spikeyolo.errors import ConfigError
from spikeyolo.events.conversion.convert import Conversion, convert
from spikeyolo.events.conversion.manifest import publish, read_manifest, read_one, withdraw, withdraw_moved
from spikeyolo.events.conversion.shards import check_shard, share_of
from spikeyolo.events.datasets import Source


def of_sizes(sizes: list[int]) -> list[Conversion]:
    """Recordings behind a URL, which tell their sizes and are never opened."""
    out = Path("out")
    return [
        Conversion(
            Source(Path(f"{number}.raw"), None, str(number), "", folder="s3://b", remote_bytes=size),
            out / f"{number}.zarr",
            (),
            root=out,
        )
        for number, size in enumerate(sizes)
    ]


SIZES = st.lists(st.one_of(st.just(0), st.integers(1, 10**12)), max_size=40)


@given(SIZES, st.integers(1, 70), st.randoms(use_true_random=False))
def test_shares_are_disjoint_are_all_together_and_do_not_depend_on_the_order_of_the_listing(
    sizes: list[int], shards: int, random: random.Random
) -> None:
    conversions = of_sizes(sizes)
    shares = [share_of(conversions, shard, shards) for shard in range(shards)]
    assert sorted(c.name for share in shares for c in share) == sorted(c.name for c in conversions)
    shuffled = conversions.copy()
    random.shuffle(shuffled)
    for shard, share in enumerate(shares):
        assert {c.name for c in share_of(shuffled, shard, shards)} == {c.name for c in share}
        assert share == [c for c in conversions if c in share]  # in the order of the set


@given(SIZES, st.integers(1, 20))
def test_no_share_holds_more_than_an_even_one_and_a_recording(sizes: list[int], shards: int) -> None:
    conversions = of_sizes(sizes)
    loads = [sum(c.source.size_bytes for c in share_of(conversions, shard, shards)) for shard in range(shards)]
    assert max(loads) <= sum(sizes) / shards + max(sizes, default=0)


def test_recordings_whose_sizes_nobody_tells_are_shared_by_number() -> None:
    counts = [len(share_of(of_sizes([0] * 10), shard, 4)) for shard in range(4)]
    assert sorted(counts) == [2, 2, 3, 3]


@pytest.mark.parametrize(
    ("shard", "shards", "sentence"),
    [
        (4, 4, "shard: found 4 with shards=4; expected 0 to 3"),
        (1, 1, "shard: found 1 with shards=1; expected 0 to 0, and the same shards in every job"),
        (None, 64, "shard must be given with shards=64"),
    ],
)
def test_a_shard_that_is_not_there_is_refused(shard: int | None, shards: int, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        check_shard(shard, shards)


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A set with one recording."""
    convert(Conversion(Source(write_dat(tmp_path / "a.dat"), None, "a", ""), tmp_path / "out" / "a.zarr", ()))
    return tmp_path / "out"


def test_a_manifest_can_be_read_while_other_jobs_publish_and_withdraw(published: Path) -> None:
    item = read_one(published, "a.zarr")
    assert item is not None
    ended = threading.Event()

    def another_job() -> None:
        for _ in range(300):
            publish(published, "b.zarr", item, instead=None)
            withdraw(published, "b.zarr")
        ended.set()

    job = threading.Thread(target=another_job)
    job.start()
    seen = set()
    while not ended.is_set():
        seen.add(tuple(read_manifest(published)))
    job.join()
    assert seen <= {("a.zarr",), ("a.zarr", "b.zarr")}


def test_what_other_jobs_convert_from_an_equal_file_is_not_taken_for_moved(published: Path, tmp_path: Path) -> None:
    twin = Conversion(Source(tmp_path / "a.dat", None, "twin", ""), published / "twin.zarr", ())
    _, entry = convert(twin)
    assert withdraw_moved(published, {"twin.zarr": entry}, {"a.zarr", "twin.zarr"}) == {"a.zarr", "twin.zarr"}
    assert list(read_manifest(published)) == ["a.zarr", "twin.zarr"]


def test_of_several_jobs_that_find_the_same_recording_moved_one_removes_it_and_all_end_well(
    published: Path, tmp_path: Path
) -> None:
    _, entry = convert(Conversion(Source(tmp_path / "a.dat", None, "b", ""), published / "b.zarr", ()))
    begin, held, errors = threading.Barrier(4), [], []

    def job() -> None:
        begin.wait()
        try:
            held.append(withdraw_moved(published, {"b.zarr": entry}, {"b.zarr"}))
        except Exception as error:
            errors.append(error)

    jobs = [threading.Thread(target=job) for _ in range(4)]
    for each in jobs:
        each.start()
    for each in jobs:
        each.join()
    assert not errors
    assert held == [{"b.zarr"}] * 4
    assert not (published / "a.zarr").exists()
    assert list(read_manifest(published)) == ["b.zarr"]
