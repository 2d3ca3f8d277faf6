"""One pass over the examples in which a change and attention are looked at.

Shapes: L layers, B examples of a batch, T positions, H heads, N tokens of all examples, K features of a projection.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import torch
from torch import Tensor

from gifine.changes import gi
from gifine.changes.autograd.gate import SATURATED_BELOW, Over, find_maxima
from gifine.changes.contract import Place
from gifine.config import GI
from gifine.inspect import seen as seeing
from gifine.inspect.findings import QUANTILES, Attention, Example, Peak, Track
from gifine.inspect.loading import Loaded
from gifine.inspect.seen import Seen
from gifine.models import layouts

_SAMPLE = 20_000  # gates of a layer in a batch, of which quantiles are made
MAPS = 3_000_000  # bytes of attention maps that a page has

BELOW, SATURATED = "below 1", "within 1 % of 1"


@dataclass
class _Track:
    values: dict[int, np.ndarray] = field(default_factory=dict)  # by layer, HN
    sample: defaultdict[int, list[np.ndarray]] = field(default_factory=lambda: defaultdict(list))
    shares: defaultdict[str, defaultdict[int, list[np.ndarray]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    told: defaultdict[int, list[dict[str, float]]] = field(default_factory=lambda: defaultdict(list))


class Pass:
    """What is kept of it, batch by batch."""

    def __init__(self, loaded: Loaded, shown: Sequence[int]) -> None:
        self.loaded = loaded
        lengths = [len(each["input_ids"]) for each in loaded.features]
        self.first = np.concatenate([[0], np.cumsum(lengths)])
        config = loaded.model.config
        self.depth, self.heads = config.num_hidden_layers, config.num_attention_heads
        self.cls_last = layouts.cls_last(loaded.model)
        self.tracks: defaultdict[tuple[str, str], _Track] = defaultdict(_Track)
        self.peaks: list[Peak] = []
        self.summed: dict[str, np.ndarray] = {}
        self.maps: dict[int, np.ndarray] = {}
        room = MAPS
        for place in shown:
            size = self.depth * self.heads * lengths[place] ** 2
            if size <= room:
                self.maps[place] = np.zeros((self.depth, self.heads, lengths[place], lengths[place]), np.uint8)
                room -= size
        self.special = torch.tensor(sorted({*loaded.tokenizer.all_special_ids}))
        self.numbers = torch.Generator().manual_seed(0)

    def run(self) -> np.ndarray:
        """Logits of all examples, as the model gives them when nobody looks: what ablations are held against."""
        with (
            seeing.between(self.loaded.model, self._see, is_told=True),
            seeing.attention(self.loaded.model, self._attend) as arguments,
        ):
            for number, batch in enumerate(self.loaded.batches):
                self.number, self.batch = number, batch
                padded = self.loaded.padded(self.batch)
                self.real_BT = padded["attention_mask"].bool()
                self.ids_BT = padded["input_ids"]
                self.loaded.forward(self.batch, **arguments)
        return self.loaded.logits()

    def _see(self, seen: Seen) -> Tensor:
        if seen.positions:
            return seen.changed
        site, layer = seen.place.site, seen.place.layer
        if seen.site.change.name == GI:
            track = self.tracks["gate", site]
            self._gates(seen, track)
        else:
            track = self.tracks["moved", site]
            self._put(track, layer, seeing.moved(seen))
        if seen.told:
            track.told[layer].append({name: float(value) for name, value in seen.told.items()})
        return seen.changed

    def _put(self, track: _Track, layer: int, values_BTH: Tensor) -> None:
        kept_HN = track.values.setdefault(layer, np.full((values_BTH.shape[-1], self.first[-1]), np.nan, np.float32))
        for row, place in enumerate(self.batch):
            first = self.first[place]
            of_example = values_BTH[row]
            if of_example.shape[0] == self.real_BT.shape[1]:
                of_example = of_example[self.real_BT[row]]
            elif self.cls_last:  # of the last layer, the token alone that the head reads
                first = self.first[place + 1] - len(of_example)
            kept_HN[:, first : first + len(of_example)] = of_example.T.float().cpu().numpy()

    def _gates(self, seen: Seen, track: _Track) -> None:
        settings = seen.site.settings
        assert isinstance(settings, gi.Settings)
        layer, heads = seen.place.layer, seen.place.heads
        signal_BTK = seeing.signal(seen)
        left_out = self.real_BT if settings.mask_padding else None
        gate_BTK, shifted_BTK = seeing.gates(signal_BTK, settings, left_out)
        self._put(track, layer, gate_BTK.unflatten(-1, (heads, -1)).mean(dim=-1))
        gate_RK, shifted_RK = gate_BTK[self.real_BT], shifted_BTK[self.real_BT]
        chosen = torch.randint(gate_RK.numel(), (min(_SAMPLE, gate_RK.numel()),), generator=self.numbers)
        track.sample[layer].append(gate_RK.flatten()[chosen.to(gate_RK.device)].float().cpu().numpy())
        for name, where in ((BELOW, gate_RK < 1), (SATURATED, shifted_RK < SATURATED_BELOW)):
            share_H = where.float().unflatten(-1, (heads, -1)).mean(dim=-1).sum(dim=0)
            track.shares[name][layer].append(share_H.cpu().numpy())
        if settings.level and settings.threshold != "token":
            self._find_peaks(seen.place, settings, signal_BTK, left_out)

    def _find_peaks(self, place: Place, settings: gi.Settings, signal_BTK: Tensor, real_BT: Tensor | None) -> None:
        _, length, features = signal_BTK.shape
        found = find_maxima(signal_BTK, cast("Over", settings.threshold), real_BT)
        for flat, column in zip(*(each.tolist() for each in found), strict=True):
            row, position = divmod(flat, length)
            is_real = bool(self.real_BT[row, position])
            token = int(self.real_BT[row, :position].sum()) if is_real else None
            head, maximum = column // (features // place.heads), float(signal_BTK[row, position, column])
            threshold = settings.level * maximum
            self.peaks.append(
                Peak(place.layer, place.site, self.number, self.batch[row], token, head, maximum, threshold)
            )

    def _attend(self, layer: int, weights_BHTT: Tensor) -> None:
        real_BT = self.real_BT
        weights_BHTT = weights_BHTT.float()
        asks = real_BT[:, None, :, None]
        log_tokens_B = real_BT.sum(dim=1).clamp_min(2).log()
        entropy_BHT = -(weights_BHTT * weights_BHTT.clamp_min(1e-30).log()).sum(dim=-1) / log_tokens_B[:, None, None]
        special_BT = torch.isin(self.ids_BT, self.special.to(self.ids_BT.device)) & real_BT
        rows_B = torch.arange(len(real_BT), device=real_BT.device)
        read_B = torch.zeros_like(rows_B)
        if self.cls_last:  # the last that is not padding, which is on either side
            read_B = (real_BT * torch.arange(real_BT.shape[1], device=real_BT.device)).argmax(dim=1)
        special_BT[rows_B, read_B] = False
        beside_BHT = sum_beside(weights_BHTT)
        of_query = {
            "evenness": entropy_BHT,
            f"to the {'last' if self.cls_last else 'first'} token": weights_BHTT[rows_B, :, :, read_B],
            "to other special tokens": (weights_BHTT * special_BT[:, None, None, :]).sum(dim=-1),
            "to itself": weights_BHTT.diagonal(dim1=-2, dim2=-1),
            "to its neighbours": beside_BHT,
        }
        for name, values_BHT in of_query.items():
            total_LH = self.summed.setdefault(name, np.zeros((self.depth, self.heads)))
            total_LH[layer] += (values_BHT * asks[..., 0]).sum(dim=(0, 2)).cpu().numpy()
        for row, place in enumerate(self.batch):
            if place in self.maps:
                of_example_HTT = weights_BHTT[row][:, real_BT[row]][:, :, real_BT[row]]
                self.maps[place][layer] = (of_example_HTT * 255).round().clamp(0, 255).byte().cpu().numpy()

    def made_tracks(self) -> list[Track]:
        made = []
        for (kind, site), track in sorted(self.tracks.items()):
            layers = sorted(track.values)
            values_LHN = np.stack([track.values[layer] for layer in layers])
            samples = [
                np.concatenate(track.sample[layer]) if track.sample else values[~np.isnan(values)]
                for layer, values in zip(layers, values_LHN, strict=True)
            ]
            quantiles_LQ = np.stack([np.quantile(each, QUANTILES) for each in samples])
            shares = {
                name: np.stack([np.sum(by_layer[layer], axis=0) for layer in layers]) / self.first[-1]
                for name, by_layer in track.shares.items()
            }
            told = [_means(track.told[layer]) for layer in layers]
            made.append(Track(kind, site, layers, values_LHN, quantiles_LQ, shares, told))
        return made

    def made_attention(self) -> Attention:
        return Attention({name: total / self.first[-1] for name, total in self.summed.items()}, self.maps)

    def made_examples(self, logits: np.ndarray) -> list[Example]:
        loaded, made = self.loaded, []
        labels, answers = loaded.meaning.labels(), loaded.meaning.answers(logits)
        for place, features in enumerate(loaded.features):
            tokens = [str(loaded.tokenizer.decode([token])).strip() or "␣" for token in features["input_ids"]]
            label = None if labels is None else labels[place]
            made.append(Example(tokens, int(self.first[place]), label, answers[place], loaded.names[place]))
        return made


def sum_beside(weights_BHTT: Tensor) -> Tensor:
    """The weight that each token gives to the one before it and the one after it, BHT."""
    beside_BHT = torch.zeros_like(weights_BHTT[..., 0])
    beside_BHT[..., 1:] += weights_BHTT.diagonal(-1, -2, -1)
    beside_BHT[..., :-1] += weights_BHTT.diagonal(1, -2, -1)
    return beside_BHT


def _means(told: Sequence[dict[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for each in told for name in each)
    return {name: float(np.mean([each[name] for each in told if name in each])) for name in names}
