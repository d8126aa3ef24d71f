"""A tagger of token sequences: an embedding, an LSTM, a GRU, and the probabilities of each token's tag."""

from typing import Any

from parity.frameworks import keras, torch
from parity.models.small.building import named
from parity.models.small.network import SequenceNetwork

VOCABULARY = 23
TAGS = 7
"""As many as the default length: a softmax over the wrong axis has the right shape."""


class Reference(torch.nn.Module):
    """(B, L) tokens to (B, L, 7) probabilities."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(VOCABULARY, 6)
        self.lstm = torch.nn.LSTM(6, 10, batch_first=True)
        self.gru = torch.nn.GRU(10, 9, batch_first=True)
        self.head = torch.nn.Linear(9, TAGS)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """The probabilities; the class says which shapes."""
        x, _ = self.lstm(self.embedding(tokens))
        x, _ = self.gru(x)
        return torch.softmax(self.head(x), dim=-1)


def build_port(length: int) -> Any:
    """The port for sequences of that length: (B, L) to (B, L, 7)."""
    tokens = keras.Input((length,), dtype="int64", name="tokens")
    x = keras.layers.Embedding(VOCABULARY, 6, name="embedding")(tokens)
    x = keras.layers.LSTM(10, return_sequences=True, name="lstm")(x)
    x = keras.layers.GRU(9, return_sequences=True, reset_after=True, name="gru")(x)
    x = keras.layers.Dense(TAGS, name="head")(x)
    return keras.Model(tokens, named("probabilities", keras.ops.softmax(x, axis=-1)), name="tagger")


LAYERS = {
    "embedding": "embedding",
    "lstm[0]": "lstm",
    "gru[0]": "gru",
    "head": "head",
    "softmax": "probabilities",
}
"""The reference's taps and the port layers that answer to them; the final states are not used."""

NETWORK = SequenceNetwork(
    name="tagger",
    reference=lambda length: Reference(),
    port=build_port,
    layers=LAYERS,
    sizes=((TAGS,), (5,), (11,)),
    batch=3,
    vocabulary=VOCABULARY,
    gains={"head": 3.0},  # so that some tags are likelier than others
)
pair = NETWORK.pair
build = NETWORK.build
