"""What the attribution selectors share: a classifier, the Grad-CAM map of its classes, and the losses of GAIN on it.

Grad-CAM: Selvaraju et al., ICCV 2017, arXiv:1610.02391. As a part of training: GAIN, Li, Wu, Peng, Ernst and Fu,
Tell Me Where to Look: Guided Attention Inference Network, CVPR 2018, arXiv:1802.10171, whose steps these are:

1. w^c = mean over positions of ∂s^c/∂f: f the features of the last convolution, s^c the logit of class c. This pass
   changes no parameter.
2. A^c = ReLU(Σ_k w^c_k f_k), the attention of class c, at the image's size.
3. I*^c = I − T(A^c) ⊙ I: the image with what is attended to erased.
4. T(A) = sigmoid(ω(A − σ)).
5. Attention mining: L_am = (1/n) Σ_c s^c(I*^c) over the n classes of the image.
6. Self-guidance: L_self = L_cl + α L_am, α = 1.
7. External supervision: L_e = (1/n) Σ_c mean over pixels of (A^c − H^c)², H^c the pixels of the object.
8. L_ext = L_cl + α L_am + ω L_e, with an ω of its own, 10.

The head is linear on pooled features, and both poolings hand a channel's gradient on in shares that sum to 1. So
equation 1 is w^c = W_c / number of positions, with no backward pass: Grad-CAM is CAM here, and the gradient of A,
which goes through w^c too, is what differentiating twice would give. The tests hold both against autograd.

What is supported: every loss takes several classes per image (a multi-hot target, one attention and one erased image
for each class), with L_cl the paper's multi-label soft margin (`loss=soft_margin`: K sigmoids). The tasks have one
label per image, so the agents pass one-hot targets, and may also have a softmax (`loss=cross_entropy`).

What differs from the paper, and why:
* A small network of stride 4, from scratch, in place of VGG; by default its features are pooled by maximum, as in
  the shared backbone, because a mean dilutes a small object.
* s^c in L_am is the probability (of the softmax or the sigmoid), which has a floor. The paper does not say whether
  it is that or the logit.
* How A is normalised is not published, nor σ and ω of T. Here A is divided by its largest value, taken as a
  constant; σ = 0.5 and ω = 10, as in others' implementations.
* A is rectified after it is brought to the image's size. The selector ranks pixels by the map before ReLU: it has
  the order of A, and goes on below where A is 0.

Training takes the attention of the true classes, test time that of the predicted class. Shapes: B batch, C H W image,
Y X rows and columns of the features, D their channels, K classes, P pairs of an image and a class that it has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from glimpsebench.agents.common.base import Progress, tensor
from glimpsebench.agents.common.masks import Array, MaskAgent, MaskNet, Weight
from glimpsebench.agents.common.nets import Rate, conv, to_float
from glimpsebench.envs.settings import renamed
from glimpsebench.envs.tasks import Split, Task

Pool = Literal["mean", "max"]
Loss = Literal["cross_entropy", "soft_margin"]
MiningTrains = Literal["everything", "attention only"]
FINDINGS_IMAGES = 2000
"""How many validation images the findings are measured on, at most."""


class Classifier(nn.Module):
    """Images to class logits s (B, K)."""

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

    def class_map(self, features_PDYX: Tensor, class_P: Tensor, size: torch.Size) -> Tensor:
        """Equation 2 before ReLU, bilinear between the positions: (P, 1, *size), a class for each row of features."""
        weight_PD = self.head.weight[class_P] / features_PDYX[0, 0].numel()
        map_PYX = torch.einsum("pd,pdyx->pyx", weight_PD, features_PDYX)
        return F.interpolate(map_PYX[:, None], size=size, mode="bilinear", align_corners=False)


class Explainer(nn.Module):
    """The scores of a mask selector: the map of the class that the classifier predicts, (B, 1, H, W)."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, image_BCHW: Tensor) -> Tensor:
        features_BDYX = self.classifier.features(image_BCHW)
        predicted_B = self.classifier.logits(features_BDYX).argmax(1)
        return self.classifier.class_map(features_BDYX, predicted_B, image_BCHW.shape[2:])


def classification_loss(logits_BK: Tensor, target_BK: Tensor, loss: Loss) -> Tensor:
    """L_cl of multi-hot targets; `cross_entropy` is of a softmax, so it wants one class per image."""
    if loss == "cross_entropy":
        return F.cross_entropy(logits_BK, target_BK)
    return F.multilabel_soft_margin_loss(logits_BK, target_BK)


def probabilities(logits_BK: Tensor, loss: Loss) -> Tensor:
    """Of the classes: a softmax, or one sigmoid each."""
    return logits_BK.softmax(1) if loss == "cross_entropy" else logits_BK.sigmoid()


def attention(map_P1HW: Tensor) -> Tensor:
    """A: in [0, 1], and 0 everywhere where nothing speaks for the class."""
    positive_P1HW = map_P1HW.relu()
    return positive_P1HW / positive_P1HW.detach().amax((2, 3), keepdim=True).clamp(min=1e-12)


def erased(image_PCHW: Tensor, attention_P1HW: Tensor, threshold: float, sharpness: float) -> Tensor:
    """Equations 3 and 4: I*."""
    return image_PCHW * (1 - torch.sigmoid(sharpness * (attention_P1HW - threshold)))


def mean_over_classes(value_P: Tensor, image_P: Tensor) -> Tensor:
    """(1/n) Σ_c over the classes of each image (`image_P` says whose a value is), then the mean over the images."""
    classes_B = image_P.bincount()
    return (value_P / classes_B[image_P]).sum() / (classes_B > 0).sum()


def mining_loss(
    classifier: Classifier, erased_PCHW: Tensor, image_P: Tensor, class_P: Tensor, loss: Loss, trains: MiningTrains
) -> Tensor:
    """Equation 5. In "attention only" the classifier that reads I* has constant parameters."""
    # Copies of the moving statistics, so that those of the classifier stay the ones of whole images.
    state = {name: value.clone() for name, value in classifier.named_buffers()}
    if trains == "attention only":
        state |= {name: value.detach() for name, value in classifier.named_parameters()}
    probability_PK = probabilities(functional_call(classifier, state, (erased_PCHW,)), loss)
    return mean_over_classes(probability_PK.gather(1, class_P[:, None])[:, 0], image_P)


def external_loss(attention_P1HW: Tensor, object_PHW: Tensor, image_P: Tensor) -> Tensor:
    """Equation 7."""
    return mean_over_classes((attention_P1HW[:, 0] - object_PHW).square().mean((1, 2)), image_P)


@dataclass
class AttributionAgent(MaskAgent):
    """Reads the whole image with a classifier, then shows the pixels that speak most for the class it predicts.

    What `fit` leaves in `findings`, over the first `FINDINGS_IMAGES` validation images: `accuracy` of the classifier
    on whole images; `attention_mean`; `attention_half`, the share of pixels with A ≥ 0.5; `erased_probability`, of the
    true class, once the soft mask at σ = 0.5, ω = 10 has erased the attended part; where the task knows its objects,
    `iou_half` and `iou_fifth`, of the pixels with A ≥ 0.5 and A ≥ 0.2 (the paper's cue) with the object.

    Settings:
        pool: of the features, over positions.
        loss: of the classifier, over softmax or sigmoids.
        selector_steps, batch, lr, width, predictor_init, predictor_steps, predictor_lr: as for every mask selector; the
            selector is the classifier.
    """

    pool: Pool = "max"
    loss: Loss = "cross_entropy"

    version: ClassVar[int] = 3

    def build(self) -> nn.Module:
        classifier = Classifier(self.shape[0], self.classes, self.width, self.pool)
        return MaskNet(Explainer(classifier), self.new_predictor())

    @property
    def classifier(self) -> Classifier:
        """The classifier, made."""
        assert isinstance(self.nets.scorer, Explainer)
        return self.nets.scorer.classifier

    def one_hot(self, labels_B: Tensor) -> Tensor:
        """The target of one label per image: (B, K)."""
        return F.one_hot(labels_B, self.classes).float()

    def fit_selector(self, task: Task, rng: np.random.Generator, progress: Progress[int]) -> None:
        super().fit_selector(task, rng, progress)
        self.findings |= self.validated(task.val())

    def validation_logits(self, images: Split, stage: str) -> tuple[Tensor | Array | None, str]:
        if stage != "selector":
            return super().validation_logits(images, stage)
        return self.classifier(to_float(images.images_NCHW)), "classifier on whole images"

    @torch.no_grad()
    def validated(self, split: Split) -> dict[str, float]:
        """The findings."""
        assert split.labels_N is not None
        rows: dict[str, list[Tensor]] = {}
        for start in range(0, min(len(split), FINDINGS_IMAGES), 250):
            some = np.arange(start, min(start + 250, FINDINGS_IMAGES, len(split)))
            image_BCHW, labels_B = to_float(split.images_NCHW[some]), tensor(split.labels_N[some])
            features_BDYX = self.classifier.features(image_BCHW)
            predicted_B = self.classifier.logits(features_BDYX).argmax(1)
            A_B1HW = attention(self.classifier.class_map(features_BDYX, predicted_B, image_BCHW.shape[2:]))
            erased_BK = probabilities(self.classifier(erased(image_BCHW, A_B1HW, 0.5, 10.0)), self.loss)
            found = {
                "accuracy": (predicted_B == labels_B).float(),
                "attention_mean": A_B1HW.mean((1, 2, 3)),
                "attention_half": (A_B1HW >= 0.5).float().mean((1, 2, 3)),
                "erased_probability": erased_BK.gather(1, labels_B[:, None])[:, 0],
            }
            if split.objects_NHW is not None:
                object_BHW = tensor(split.objects_NHW[some])
                for name, least in (("iou_half", 0.5), ("iou_fifth", 0.2)):
                    cue_BHW = A_B1HW[:, 0] >= least
                    both, either = cue_BHW & object_BHW, cue_BHW | object_BHW
                    found[name] = both.sum((1, 2)) / either.sum((1, 2)).clamp(min=1)
            for name, values_B in found.items():
                rows.setdefault(name, []).append(values_B)
        return {name: torch.cat(values).mean().item() for name, values in rows.items()}


@dataclass
class GuidedAgent(AttributionAgent):
    """An attribution agent whose attention is a part of its loss: the self-guidance of GAIN.

    Settings:
        mining_weight: α, the weight of attention mining; 0 leaves the classifier alone, as in gradcam.
        mining_trains: what attention mining has a gradient for. "everything" is the paper's: the stream that reads
            the erased image shares its weights with the classifier, and trains them too. In "attention only" that
            stream's parameters are constants, so that L_am falls only by an attention that covers more.
        threshold: σ, the attention at which half of a pixel is erased.
        sharpness: ω of equation 4.
        pool, loss, selector_steps, batch, lr, width, predictor_init, predictor_steps, predictor_lr: as for every
            attribution selector.
    """

    mining_weight: Weight = renamed(1.0, "alpha")
    mining_trains: MiningTrains = renamed("everything", "frozen")
    threshold: Rate = renamed(0.5, "sigma")
    sharpness: Rate = renamed(10.0, "omega")

    def self_guidance(self, image_BCHW: Tensor, target_BK: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Equation 6; and for every class that an image has, A (P, 1, H, W) and the place of its image (P,)."""
        image_P, class_P = target_BK.nonzero(as_tuple=True)
        features_BDYX = self.classifier.features(image_BCHW)
        loss = classification_loss(self.classifier.logits(features_BDYX), target_BK, self.loss)
        A_P1HW = attention(self.classifier.class_map(features_BDYX[image_P], class_P, image_BCHW.shape[2:]))
        erased_PCHW = erased(image_BCHW[image_P], A_P1HW, self.threshold, self.sharpness)
        mined = mining_loss(self.classifier, erased_PCHW, image_P, class_P, self.loss, self.mining_trains)
        return loss + self.mining_weight * mined, A_P1HW, image_P

    def selection_loss(self, image_BCHW: Tensor, labels_B: Tensor, step: int) -> Tensor:
        return self.self_guidance(image_BCHW, self.one_hot(labels_B))[0]
