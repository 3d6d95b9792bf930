"""Chunks: samples do not depend on how they are cut, and chunks that take long are cut smaller."""

import time

import pytest
import torch

import guidekit as gk
from guidekit.running import chunks
from guidekit.running.chunks import Chunk, fitting, load_chunk, load_chunks, sample_on_disk, save_chunk
from guidekit.running.scores import Journal, Memory
from guidekit.sampling import prepare


def drawn(prior, folder, cut=True, on_step=None, **arguments):
    sampling = prepare(prior, num_samples=8, steps=40, seed=3, sampler=gk.samplers.Ancestral(), **arguments)
    done, _ = load_chunks(folder, "part")
    memory = Memory(None, Journal(folder / "scores.txt"))
    return sample_on_disk(folder, "part", sampling, memory, done, cut, on_step)


@pytest.mark.parametrize("first", [1, 3, 8])
def test_samples_do_not_depend_on_the_cut(first, chain_a, tmp_path):
    sampling = prepare(chain_a.prior, num_samples=8, steps=40, seed=3, sampler=gk.samplers.Ancestral())
    save_chunk(tmp_path, "part", Chunk(2, sampling.draw(2, min(8, 2 + first)), {"forgot": False, "scores": {}}))
    assert torch.equal(drawn(chain_a.prior, tmp_path, batch_size=3).samples, sampling.draw(0, 8).samples)


@pytest.mark.parametrize(
    ("groups", "seconds", "size", "expected"),
    [
        (64, 50, 64, 64),  # about right
        (64, 80, 64, 64),
        (64, 600, 64, 4),  # too long
        (64, 1e6, 64, 1),
        (1, 1e6, 1, 1),
        (4, 5, 4, 32),  # too short, having been cut
        (64, 0.0, 64, 64),  # never above what memory allows
        (2, 1, 64, 64),  # the last of many
    ],
)
def test_the_size_of_chunks_follows_the_time_they_take(groups, seconds, size, expected):
    assert fitting(groups, seconds, size, 64) == expected


def test_a_chunk_that_would_take_too_long_is_begun_anew_in_smaller_ones(chain_a, tmp_path, monkeypatch):
    monkeypatch.setattr(chunks, "LOSS", 0.04)

    def slow(progress):
        time.sleep(0.005 * (progress.groups[1] - progress.groups[0]))

    result = drawn(chain_a.prior, tmp_path, on_step=slow)
    files = sorted(tmp_path.glob("part-*"))
    assert len(files) == 8
    sampling = prepare(chain_a.prior, num_samples=8, steps=40, seed=3, sampler=gk.samplers.Ancestral())
    assert torch.equal(result.samples, sampling.draw(0, 8).samples)


def test_a_given_batch_size_is_kept(chain_a, tmp_path, monkeypatch):
    monkeypatch.setattr(chunks, "LOSS", 1e-9)
    drawn(chain_a.prior, tmp_path, cut=False, batch_size=4)
    assert len(list(tmp_path.glob("part-*"))) == 2


def test_any_flipped_bit_is_noticed(chain_a, tmp_path):
    drawn(chain_a.prior, tmp_path)
    (path,) = tmp_path.glob("part-*")
    data = path.read_bytes()
    assert load_chunk(path) is not None
    for at in range(0, len(data), 31):
        flipped = bytearray(data)
        flipped[at] ^= 1 << at % 8
        path.write_bytes(flipped)
        found = load_chunk(path)
        # The name of the hash in the header may itself be hit, and blanks that pad it may be others
        assert found is None or torch.equal(found.result.samples, load_chunk_of(data, tmp_path).result.samples)


def load_chunk_of(data, folder):
    path = folder / "whole"
    path.write_bytes(data)
    return load_chunk(path)
