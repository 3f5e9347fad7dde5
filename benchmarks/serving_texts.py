"""The texts that are sent: 256 of 3 to 60 words, the same in every run."""

from __future__ import annotations

import random

NUM_TEXTS = 256
MIN_WORDS, MAX_WORDS = 3, 60
_SEED = 20
# Words before the clamp are log-normal: most texts are short, a few are long, about 24 tokens on average.
_MEAN_LOG, _SPREAD_LOG = 2.92, 0.62
_VOCABULARY = """
the a of and to in is that it was for on are as with his they at be this from have or by one had not but what all were
when we there can an your which their said if do will each about how up out them then she many some so these would other
into has more her two like him see time could no make than first been its who now people my made over did down only way
find use may water long little very after words called just where most know get through back much before go good new
write our used me man too any day same right look think also around another came come work three word must because does
part even place well such here take why things help put years different away again off went old number great tell men
say small every found still between name should mister home big give air line set own under read last never us left end
along while might next sound below saw something thought both few those always looked show large often together asked
house world going want school important until form food keep children feet land side without boy once animals life
enough took sometimes four head above kind began almost live page got earth need far hand high year mother light parts
country father let night following picture being study second eyes soon times story boys since white days ever paper
hard near sentence better best across during today others however sure means knew try told young miles sun ways thing
whole hear example heard several change answer room sea against top turned learn point city play toward five using
himself usually money seen car morning given trees gives model server latency throughput machine network memory
"""


def make_texts() -> list[str]:
    """The texts, in the order in which clients send them."""
    rng, words = random.Random(_SEED), _VOCABULARY.split()
    return [_make_text(rng, words) for _ in range(NUM_TEXTS)]


def _make_text(rng: random.Random, words: list[str]) -> str:
    num_words = max(MIN_WORDS, min(MAX_WORDS, round(rng.lognormvariate(_MEAN_LOG, _SPREAD_LOG))))
    return " ".join(rng.choice(words) for _ in range(num_words))
