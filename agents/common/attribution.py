"""What the attribution selectors share: a classifier, the Grad-CAM map of one of its classes, and the k best of it.

Grad-CAM: Selvaraju et al., ICCV 2017, arXiv:1610.02391. As a part of training: GAIN, Li, Wu, Peng, Ernst and Fu,
Tell Me Where to Look: Guided Attention Inference Network, CVPR 2018, arXiv:1802.10171, whose steps these are:

1. w^c = mean over positions of ∂s^c/∂f: f the features of the last convolution, s^c the logit of class c. This pass
   changes no parameter.
2. A^c = ReLU(Σ_k w^c_k f_k), at the image's size.
3. I* = I − T(A^c) ⊙ I: the image without what is attended to.
4. T(A) = σ(ω(A − σ)).
5. L_am = s^c(I*), from the same classifier: what it can still tell from the rest.

The head is linear on pooled features, and both poolings hand a channel's gradient on in shares that sum to 1. So
equation 1 is w^c = W_c / number of positions, with no backward pass: Grad-CAM is CAM here, and the gradient of A,
which goes through w^c too, is what differentiating twice would give. The tests hold both against autograd.

What differs from the paper, and why:
* A small network of stride 4, from scratch, in place of VGG. Its features are pooled by maximum, as in the shared
  backbone: after 300 steps on mnist-on-cifar it is right on 95 % of the validation images, with a mean over
  positions on 64 % (seed 0; `pool`).
* One label per image, so L_cl is cross-entropy, and s^c in L_am is the probability, which has a floor. The paper's
  L_cl is a multi-label soft margin; whether its s^c in L_am is a logit it does not say.
* How A is normalised is not published, nor σ and ω of T. Here A is divided by its largest value, taken as a
  constant; σ = 0.5 and ω = 10, as in others' implementations.
* A is rectified after it is brought to the image's size. The selector ranks pixels by the map before ReLU: it has
  the order of A, and goes on below where A is 0.

Training takes the map of the true class, test time that of the predicted class. Shapes: B batch, C H W image,
Y X rows and columns of the features, D their channels, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from glimpsebench.agents.common.base import Progress, tensor
from glimpsebench.agents.common.masks import MaskAgent, MaskNet
from glimpsebench.agents.common.nets import conv, to_float
from glimpsebench.envs.tasks import Split, Task

Pool = Literal["mean", "max"]
MEASURED = 2000
"""How many validation images the findings are measured on, at most."""


class Classifier(nn.Module):
    """S: images to class logits (B, K)."""

    def __init__(self, channels: int, classes: int, width: int, pool: Pool) -> None:
        super().__init__()
        w = width
        self.pool: Pool = pool
        self.layers = nn.Sequential(
            conv(channels, w, 2), conv(w, w), conv(w, 2 * w, 2), conv(2 * w, 2 * w), conv(2 * w, 4 * w)
        )
        self.head = nn.Linear(4 * w, classes)
        self.layers.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, image_BCHW: Tensor) -> Tensor:
        return self.logits(self.features(image_BCHW))

    def features(self, image_BCHW: Tensor) -> Tensor:
        """f: (B, D, Y, X)."""
        features_BDYX: Tensor = self.layers(image_BCHW.contiguous(memory_format=torch.channels_last))
        return features_BDYX

    def logits(self, features_BDYX: Tensor) -> Tensor:
        """s: (B, K)."""
        pooled_BD = features_BDYX.mean((2, 3)) if self.pool == "mean" else features_BDYX.amax((2, 3))
        logits_BK: Tensor = self.head(pooled_BD)
        return logits_BK

    def evidence(self, features_BDYX: Tensor, class_B: Tensor, size: torch.Size) -> Tensor:
        """Equation 2 before ReLU, bilinear between the positions: (B, 1, *size)."""
        weight_BD = self.head.weight[class_B] / features_BDYX[0, 0].numel()
        evidence_BYX = torch.einsum("bd,bdyx->byx", weight_BD, features_BDYX)
        return F.interpolate(evidence_BYX[:, None], size=size, mode="bilinear", align_corners=False)


class Explainer(nn.Module):
    """The scores of a mask selector: the evidence for the class that the classifier predicts, (B, 1, H, W)."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, image_BCHW: Tensor) -> Tensor:
        features_BDYX = self.classifier.features(image_BCHW)
        predicted_B = self.classifier.logits(features_BDYX).argmax(1)
        return self.classifier.evidence(features_BDYX, predicted_B, image_BCHW.shape[2:])


def attention(evidence_B1HW: Tensor) -> Tensor:
    """A: in [0, 1], and 0 everywhere where nothing speaks for the class."""
    positive_B1HW = evidence_B1HW.relu()
    return positive_B1HW / positive_B1HW.detach().amax((2, 3), keepdim=True).clamp(min=1e-12)


def without(image_BCHW: Tensor, attention_B1HW: Tensor, sigma: float, omega: float) -> Tensor:
    """Equations 3 and 4: I*."""
    return image_BCHW * (1 - torch.sigmoid(omega * (attention_B1HW - sigma)))


def true_probability(logits_BK: Tensor, labels_B: Tensor) -> Tensor:
    """What the softmax gives the true class: (B,)."""
    return logits_BK.softmax(1).gather(1, labels_B[:, None])[:, 0]


def mining_loss(classifier: Classifier, rest_BCHW: Tensor, labels_B: Tensor, frozen: bool) -> Tensor:
    """Equation 5 of I*. If `frozen`, the classifier's parameters are constants in it."""
    # Copies of the moving statistics, so that those of the classifier stay the ones of whole images.
    instead = {name: value.clone() for name, value in classifier.named_buffers()}
    if frozen:
        instead |= {name: value.detach() for name, value in classifier.named_parameters()}
    return true_probability(functional_call(classifier, instead, (rest_BCHW,)), labels_B).mean()


@dataclass
class AttributionAgent(MaskAgent):
    """Reads the whole image with a classifier, then shows the pixels that speak most for the class it predicts.

    What `fit` leaves in `findings`, over the first `MEASURED` validation images: `accuracy` of the classifier on
    whole images; `attention_mean`; `attention_half`, the share of pixels with A ≥ 0.5; `rest`, the probability of
    the true class once the soft mask at σ = 0.5, ω = 10 has taken the attended part away; where the task knows its
    objects, `iou_half` and `iou_fifth`, of the pixels with A ≥ 0.5 and A ≥ 0.2 (the paper's cue) with the object.

    Settings:
        pool: of the features, over positions.
        selector_steps, steps, batch, lr, width: as for every mask selector; the selector is the classifier.
    """

    pool: Pool = "max"

    def build(self) -> nn.Module:
        classifier = Classifier(self.shape[0], self.classes, self.width, self.pool)
        return MaskNet(self.shape[0], self.classes, self.width, Explainer(classifier))

    @property
    def classifier(self) -> Classifier:
        """S, made."""
        assert isinstance(self.nets.scorer, Explainer)
        return self.nets.scorer.classifier

    def explained(self, image_BCHW: Tensor, labels_B: Tensor) -> tuple[Tensor, Tensor]:
        """Training's forward pass: L_cl, and A of the true class."""
        features_BDYX = self.classifier.features(image_BCHW)
        loss = F.cross_entropy(self.classifier.logits(features_BDYX), labels_B)
        return loss, attention(self.classifier.evidence(features_BDYX, labels_B, image_BCHW.shape[2:]))

    def fit_selector(self, task: Task, rng: np.random.Generator, progress: Progress[int]) -> None:
        super().fit_selector(task, rng, progress)
        self.findings |= self.measured(task.val())

    @torch.no_grad()
    def measured(self, split: Split) -> dict[str, float]:
        """The findings."""
        assert split.labels_N is not None
        rows: dict[str, list[Tensor]] = {}
        for start in range(0, min(len(split), MEASURED), 250):
            some = np.arange(start, min(start + 250, MEASURED, len(split)))
            image_BCHW, labels_B = to_float(split.images_NCHW[some]), tensor(split.labels_N[some])
            features_BDYX = self.classifier.features(image_BCHW)
            predicted_B = self.classifier.logits(features_BDYX).argmax(1)
            evidence_B1HW = self.classifier.evidence(features_BDYX, predicted_B, image_BCHW.shape[2:])
            A_B1HW = attention(evidence_B1HW)
            rest_BK = self.classifier(without(image_BCHW, A_B1HW, 0.5, 10.0))
            found = {
                "accuracy": (predicted_B == labels_B).float(),
                "attention_mean": A_B1HW.mean((1, 2, 3)),
                "attention_half": (A_B1HW >= 0.5).float().mean((1, 2, 3)),
                "rest": true_probability(rest_BK, labels_B),
            }
            if split.objects_NHW is not None:
                object_BHW = torch.tensor(split.objects_NHW[some])
                for name, least in (("iou_half", 0.5), ("iou_fifth", 0.2)):
                    cue_BHW = A_B1HW[:, 0] >= least
                    both, either = cue_BHW & object_BHW, cue_BHW | object_BHW
                    found[name] = both.sum((1, 2)) / either.sum((1, 2)).clamp(min=1)
            for name, values_B in found.items():
                rows.setdefault(name, []).append(values_B)
        return {name: torch.cat(values).mean().item() for name, values in rows.items()}
