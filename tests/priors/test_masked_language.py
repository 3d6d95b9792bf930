"""Masked language models that transformers writes become priors: same beliefs, whole guidance, fixed positions."""

import json
import math
import socket

import pytest
import torch

import guidekit as gk
from guidekit._compat import mended
from guidekit.cli import main
from guidekit.core.requirements import GuidanceError
from guidekit.objectives import ForbiddenWords, ObjectReward
from guidekit.priors.checkpoints import CheckpointError, load_any_prior
from guidekit.processes.automata import Automaton
from guidekit.testing import check_guidance

transformers = mended("test", "transformers")
RESIDUES = "LAGVSERTIDPKQNFYMHWC"


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """Nothing is fetched."""

    def refuse(*arguments, **options):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def loud(model):
    """Weights large enough for beliefs that differ from token to token."""
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim == 2:
                weight.mul_(8)
    return model.eval()


def esm(folder):
    """A folder as those of ESM-2."""
    words = ["<cls>", "<pad>", "<eos>", "<unk>", *RESIDUES, *"XBUZO.-", "<null_1>", "<mask>"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(words))
    tokenizer = transformers.EsmTokenizer(str(folder / "vocab.txt"))
    torch.manual_seed(0)
    config = transformers.EsmConfig(
        vocab_size=len(words), mask_token_id=len(words) - 1, pad_token_id=1, hidden_size=16, num_hidden_layers=2,
        num_attention_heads=2, intermediate_size=16, max_position_embeddings=40, position_embedding_type="rotary",
        token_dropout=True,
    )  # fmt: skip
    model = loud(transformers.EsmForMaskedLM(config))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder, model, tokenizer


def bert(folder, words, kind="Bert", longest=64):
    """A folder as those of BERT-like models, with a tokenizer that splits by spaces or longest matches."""
    from tokenizers import Tokenizer, decoders, models, processors

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = [*special, *words]
    if kind == "Roberta":
        slow = Tokenizer(models.BPE({w: i for i, w in enumerate(words)}, merges(words), unk_token="[UNK]"))
    else:
        slow = Tokenizer(models.WordPiece({w: i for i, w in enumerate(words)}, unk_token="[UNK]",
                                          continuing_subword_prefix=""))  # fmt: skip
    slow.decoder = decoders.WordPiece()
    slow.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", None, [("[CLS]", 2), ("[SEP]", 3)])
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=slow, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        mask_token="[MASK]",
    )  # fmt: skip
    torch.manual_seed(0)
    options = {"vocab_size": len(words), "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    options |= {"intermediate_size": 16, "max_position_embeddings": longest, "pad_token_id": 0}
    config = getattr(transformers, f"{kind}Config")(**options)
    model = loud(getattr(transformers, f"{kind}ForMaskedLM")(config))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder, model, tokenizer


def merges(words):
    """Merges that make the longer ones, in order, of their first part and their last letter."""
    return [(word[:-1], word[-1]) for word in words if len(word) > 1 and word[0] != "["]


def theirs(model, tokenizer, text, letters):
    """Log-probabilities (L, V) that the library itself gives for the letters at each place of a text with "?"."""
    words = [tokenizer.mask_token if letter == "?" else letter for letter in text]
    asked = torch.tensor([[*around(tokenizer)[0], *tokenizer.convert_tokens_to_ids(words), *around(tokenizer)[1]]])
    with torch.no_grad():
        logits = model(input_ids=asked, attention_mask=torch.ones_like(asked)).logits[0]
    begin = len(around(tokenizer)[0])
    return logits[begin : begin + len(text), tokenizer.convert_tokens_to_ids(list(letters))].log_softmax(-1)


def around(tokenizer):
    whole = tokenizer("A")["input_ids"]
    return whole[:1], whole[2:]


def test_proteins_are_believed_in_as_by_the_model_itself(tmp_path):
    folder, model, tokenizer = esm(tmp_path / "esm")
    domain = gk.load_domain("proteins", length=9)
    prior, letters = domain.load_prior(str(folder)), domain.alphabet.letters
    assert prior.event_shape == (9,) and prior.process.vocab_size == 21 and "esm" in prior.name
    rows = ["MK?T??WYA", "?????????"]
    x = torch.tensor([[21 if one == "?" else letters.index(one) + 1 for one in row] for row in rows])
    told = prior.predict(x, 0.5).log_probs
    for row, text, mine in zip(x, rows, told, strict=True):
        hidden = row == 21
        torch.testing.assert_close(mine[hidden, 1:], theirs(model, tokenizer, text, letters)[hidden])
        assert mine[hidden, 0].isneginf().all() and mine[~hidden].argmax(-1).equal(row[~hidden])
    assert told[1, 0, 1:].exp().std() > 0.01  # not a flat law, in which any order of letters would pass


def test_padding_does_not_show(tmp_path):
    """A short sequence beside a long one: the end token follows its own last letter."""
    folder, model, tokenizer = esm(tmp_path / "esm")
    prior = gk.load_domain("proteins", length=9).load_prior(str(folder))
    short = torch.tensor([[21, 5, 21, 7, 0, 0, 0, 0, 0]])
    both = torch.cat([short, torch.full((1, 9), 21)])
    alone = prior.predict(both, 0.5).log_probs[0, :4]
    letters = gk.load_domain("proteins").alphabet.letters
    text = "".join("?" if i == 21 else letters[i - 1] for i in short[0, :4].tolist())
    torch.testing.assert_close(alone[0, 1:], theirs(model, tokenizer, text, letters)[0])
    torch.testing.assert_close(alone[2, 1:], theirs(model, tokenizer, text, letters)[2])


GUIDED = ["none", "svdd", "fk_steering", "best_of_n", "reflection", "grammar", "sharpen", "pag", "fixed", "nos"]


@pytest.mark.parametrize("name", GUIDED)
def test_token_guidance(tmp_path, name):
    folder, _, _ = esm(tmp_path / "esm")
    prior = gk.load_domain("proteins", length=8).load_prior(str(folder))
    reward = ObjectReward(lambda protein: float(protein.count("W")), "tryptophans")
    made = {
        "none": lambda: None,
        "svdd": lambda: gk.guidance.SVDD(reward, candidates=4, alpha=0.1),
        "fk_steering": lambda: gk.guidance.FKSteering(reward, temperature=0.3),
        "best_of_n": lambda: gk.guidance.BestOfN(reward),
        "reflection": lambda: gk.guidance.Reflection(ForbiddenWords([[1], [2, 2]])),
        "grammar": lambda: gk.guidance.Grammar(without(1, prior.process.vocab_size)),
        "sharpen": lambda: gk.guidance.Sharpen(1.5),
        "pag": lambda: gk.guidance.PAG(1.0, "all"),
        "fixed": lambda: gk.guidance.Grammar(beginning("MK", prior)),
        "nos": lambda: nos(prior),
    }
    particles = {"particles": 4} if name in ("fk_steering", "best_of_n") else {}
    result = check_guidance(prior, made[name](), steps=8, **particles)
    assert all(one is not None for one in result.objects())
    if name in ("svdd", "best_of_n"):
        plain = gk.sample(prior, None, 40, 8).objects()
        better = gk.sample(prior, made[name](), 40, 8, **particles).objects()
        assert sum(one.count("W") for one in better) > sum(one.count("W") for one in plain)
    if name == "grammar":
        assert not (gk.sample(prior, made[name](), 40, 8).samples == 1).any()
    if name == "fixed":
        assert all(one.startswith("MK") for one in result.objects())


def without(token, size):
    """The automaton that accepts whatever has not one token."""
    allowed = torch.ones(1, size, dtype=torch.bool)
    allowed[0, token] = False
    return Automaton(torch.zeros(1, size, dtype=torch.long).masked_fill(~allowed, -1), torch.ones(1, dtype=torch.bool))


def beginning(letters, prior):
    """The automaton of proteins that begin with given letters."""
    (length,), size = prior.event_shape, prior.process.vocab_size
    moves = torch.arange(1, length + 1)[:, None].repeat(1, size)
    for place, token in enumerate(prior.encode([letters + "A" * (length - len(letters))])[0, : len(letters)].tolist()):
        moves[place] = -1
        moves[place, token] = place + 1
    return Automaton(torch.cat([moves, torch.full((1, size), -1)]))


def nos(prior):
    from guidekit.guidance.values.learned import LearnedValue
    from guidekit.training.trunks import shared_trunk

    network = shared_trunk(prior, 4)
    torch.nn.init.normal_(network.judge.head.weight)
    return gk.guidance.NOS(LearnedValue(network.eval(), prior.process, torch.arange(4.0).double()))


def test_guidance_that_cannot_work_says_why(tmp_path):
    folder, _, _ = esm(tmp_path / "esm")
    prior = gk.load_domain("proteins", length=8).load_prior(str(folder))
    with pytest.raises(GuidanceError, match="condition"):
        gk.sample(prior, gk.guidance.CFG(2.0), 2, 4)
    with pytest.raises(GuidanceError, match="DPS needs a Gaussian process"):
        gk.sample(prior, gk.guidance.DPS(lambda x: x.double().sum(1)), 2, 4)


def test_letters_of_dna(tmp_path):
    folder, model, tokenizer = bert(tmp_path / "dna", list("ACGTN"))
    domain = gk.load_domain("dna", length=12)
    prior = domain.load_prior(str(folder))
    assert prior.pad_id is None and prior.process.vocab_size == 4
    x = torch.tensor([[4, 4, 0, 3, 4, 1, 2, 4, 4, 4, 0, 0]])
    text = "".join("ACGT?"[i] for i in x[0].tolist())
    hidden = x[0] == 4
    torch.testing.assert_close(
        prior.predict(x, 0.5).log_probs[0][hidden], theirs(model, tokenizer, text, "ACGT")[hidden]
    )
    reward = domain.rewards.make("gc", low=0.9, high=1.0)
    assert reward(gk.sample(prior, gk.guidance.SVDD(reward, candidates=8, alpha=0.01), 8, 12).samples).mean() > -0.3


def test_words_of_dna(tmp_path):
    """6-mers and single letters: sequences of other numbers of tokens, rewards of letters judge what is spelled."""
    words = [*"ACGT", "ACG", "TTT", "GCGC", "N"]
    folder, _, _ = bert(tmp_path / "words", words, longest=400)
    domain = gk.load_domain("dna", length=24)
    prior = domain.load_prior(str(folder))
    assert prior.pad_id == 0 and prior.process.vocab_size == 8 and prior.event_shape[0] <= 24
    known = domain.reference()[0]
    assert prior.decode(prior.encode([known])) == [known]
    reward = domain.suited(domain.rewards.make("gc", low=0.9, high=1.0), prior)
    result = check_guidance(prior, gk.guidance.SVDD(reward, candidates=4, alpha=0.01), steps=6)
    assert all(set(one) <= set("ACGT") for one in result.objects())
    with pytest.raises(ValueError, match="tokens of .* are longer"):
        domain.verifier(["EcoRI"], prior)


def test_smiles(tmp_path):
    words = [*"CNOFSclnos()[]=#123456-+Hr@B/\\", "CC", "c1", "Cl", "Br"]
    folder, _, _ = bert(tmp_path / "smiles", words, "Bert", longest=200)
    domain = gk.load_domain("molecules")
    prior = domain.load_prior(str(folder))
    (molecule,) = prior.decode(prior.encode(["CC(=O)Nc1ccccc1"]))
    from rdkit import Chem

    assert Chem.MolToSmiles(molecule) == "CC(=O)Nc1ccccc1"
    lengths = (gk.sample(prior, None, 50, 2).samples != 0).sum(1)
    assert lengths.double().std() > 1 and 10 < lengths.double().mean() < 50  # as those of real molecules
    reward = domain.rewards["qed"]
    check_guidance(prior, gk.guidance.SVDD(reward, candidates=2, alpha=0.1), 3, steps=6)
    starts, stops = domain.verifier((), prior)(gk.sample(prior, None, 4, 4).samples)
    assert ((stops > starts) | (starts == -1)).all()


@pytest.mark.parametrize("domain", ["dna", "proteins", "molecules"])
def test_from_the_command_line(tmp_path, domain):
    words = {"dna": list("ACGT"), "molecules": list("CNOclnos()=#123456FS[]-+HBr@/\\")}
    folder = (
        esm(tmp_path / "mine")[0] if domain == "proteins" else bert(tmp_path / "mine", words[domain], longest=200)[0]
    )
    length = [] if domain == "molecules" else ["domain.length=20"]
    reward = {"dna": "gc", "proteins": "charge", "molecules": "qed"}[domain]
    run = [f"domain={domain}", f"prior={folder}", f"reward={reward}", "guidance=svdd", "guidance.candidates=2", *length]
    assert main(["sample", *run, "num_samples=3", "steps=6", f"output={tmp_path / 'run'}"]) == 0
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["made_by"]["files"]["prior"]


def test_a_second_model_is_a_weak_one(tmp_path):
    folder, _, _ = esm(tmp_path / "esm")
    run = ["domain=proteins", "domain.length=8", f"prior={folder}", "guidance=autoguidance", f"guidance.weak={folder}"]
    assert main(["sample", *run, "num_samples=2", "steps=4", f"output={tmp_path / 'run'}"]) == 0


def test_in_python(tmp_path):
    folder, model, tokenizer = esm(tmp_path / "esm")
    prior = load_any_prior(folder, length=6, tokens=list("AWK"))
    assert set("".join(gk.sample(prior, None, 8, 6).objects())) <= set("AWK")
    counted = gk.priors.from_masked_language_model(model, tokenizer, [0, 0, 1, 1], list("AWK"))
    assert {len(one) for one in gk.sample(counted, None, 40, 3).objects()} == {2, 3}
    with pytest.raises(GuidanceError, match="'B2' is no token"):
        gk.priors.from_masked_language_model(model, tokenizer, 6, ["B2"])
    with pytest.raises(ValueError, match="takes no length"):
        load_any_prior(tmp_path, length=3)


class Timed(torch.nn.Module):
    """A network as those of MDLM: told the noise level, with tokens around nothing."""

    def __init__(self):
        super().__init__()
        self.table, self.seen = torch.nn.Embedding(40, 40), []

    def forward(self, input_ids, timesteps):
        """Logits."""
        self.seen.append(timesteps)
        return self.table(input_ids)


def test_a_network_that_is_told_the_noise(tmp_path):
    _, _, tokenizer = esm(tmp_path / "esm")
    network = Timed()
    prior = gk.priors.from_masked_language_model(network, tokenizer, 6, list("AWK"))
    network.seen.clear()
    gk.sample(prior, None, 2, 4)
    told = [float(one[0]) for one in network.seen]
    assert told == sorted(told, reverse=True) and len(told) >= 3
    network.seen.clear()
    prior.predict(torch.full((2, 6), 3), 0.75)
    assert float(network.seen[0][1]) == pytest.approx(-math.log(prior.process.alpha(0.75)), rel=1e-4)


def test_bad_folders(tmp_path):
    folder, _, _ = esm(tmp_path / "esm")
    domain = gk.load_domain("proteins", length=8)
    told = json.loads((folder / "config.json").read_text())

    def refused(match, **changed):
        (folder / "config.json").write_text(json.dumps({**told, **changed}))
        with pytest.raises(ValueError, match=match) as refusal:
            domain.load_prior(str(folder))
        assert "\n" not in str(refusal.value) and len(str(refusal.value)) < 400
        (folder / "config.json").write_text(json.dumps(told))

    refused("holds GPT2LMHeadModel; a masked language model is expected", architectures=["GPT2LMHeadModel"])
    refused("its own code", auto_map={"AutoModelForMaskedLM": "modeling.Mine"})
    refused("hidden_size=100", hidden_size=10**11)
    refused("no model can be made", model_type="nonsense")
    refused("does not fit|lacks|in another shape|no model", num_hidden_layers=4)
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:500])
    refused("truncated or no safetensors")
    weights.unlink()
    refused("there are no safetensors")
    weights.write_bytes(whole)
    for name in ("vocab.txt", "tokenizer_config.json"):
        (folder / name).unlink()
    refused("tokenizer")
    with pytest.raises(ValueError, match="spells texts, and images of domain images are none"):
        gk.load_domain("images").load_prior(str(esm(tmp_path / "again")[0]))


def test_too_long_for_the_model(tmp_path):
    folder, _, _ = bert(tmp_path / "dna", list("ACGT"), longest=16)
    with pytest.raises(CheckpointError, match="of 15 tokens .*made for 16 positions, 2 of them special"):
        gk.load_domain("dna", length=15).load_prior(str(folder))
    assert gk.load_domain("dna", length=14).load_prior(str(folder)).event_shape == (14,)
