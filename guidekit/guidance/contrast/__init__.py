"""Guidance by contrast: extrapolating from a worse belief to a better one; sharpening of one belief."""

from guidekit.guidance.contrast.adaptive import AdaptiveGuidance, LinearAG, LinearCoefficients, fit_linear
from guidekit.guidance.contrast.attention_negative import NAG
from guidekit.guidance.contrast.cfg import (
    APG,
    CFG,
    TCFG,
    CFGRenorm,
    CFGRescale,
    CFGZero,
    GuidanceInterval,
    MagnitudeAware,
)
from guidekit.guidance.contrast.cfg_plus_plus import CFGPlusPlus
from guidekit.guidance.contrast.characteristic import CharacteristicGuidance
from guidekit.guidance.contrast.clamp import FGG, ClampCleanEstimate
from guidekit.guidance.contrast.concepts import ConceptDivergence
from guidekit.guidance.contrast.confusing import GFCG
from guidekit.guidance.contrast.engine import Contrast
from guidekit.guidance.contrast.frequency import FrequencyCFG
from guidekit.guidance.contrast.linear import contrast
from guidekit.guidance.contrast.mean_shift import LinearCFG, LinearModel, decomposition
from guidekit.guidance.contrast.negatives import Compose, PerpNeg
from guidekit.guidance.contrast.perturbed import PAG, SEG, STG, TPG, Perturbed, S2Guidance
from guidekit.guidance.contrast.plans import Plan
from guidekit.guidance.contrast.regions import RegionalCFG
from guidekit.guidance.contrast.schedules import Interval, Ramp, Steps, Table
from guidekit.guidance.contrast.self_attention import SAG
from guidekit.guidance.contrast.sharpen import Sharpen
from guidekit.guidance.contrast.threshold import DynamicThreshold
from guidekit.guidance.contrast.time_step import TSG
from guidekit.guidance.contrast.upsample import UpsampleGuidance
from guidekit.guidance.contrast.weak import RLG, SIMS, Autoguidance, PersonalizationSteering, interpolate
from guidekit.guidance.contrast.without_null import ICG

__all__ = [
    "AdaptiveGuidance",
    "LinearAG",
    "LinearCoefficients",
    "fit_linear",
    "APG",
    "CFG",
    "TCFG",
    "CFGRenorm",
    "CFGRescale",
    "CFGZero",
    "GuidanceInterval",
    "MagnitudeAware",
    "CFGPlusPlus",
    "CharacteristicGuidance",
    "ClampCleanEstimate",
    "ConceptDivergence",
    "FGG",
    "GFCG",
    "Contrast",
    "FrequencyCFG",
    "contrast",
    "LinearCFG",
    "LinearModel",
    "decomposition",
    "Compose",
    "PerpNeg",
    "NAG",
    "PAG",
    "Perturbed",
    "Plan",
    "RegionalCFG",
    "S2Guidance",
    "SAG",
    "SEG",
    "STG",
    "TPG",
    "Interval",
    "Ramp",
    "Steps",
    "Table",
    "Sharpen",
    "DynamicThreshold",
    "UpsampleGuidance",
    "RLG",
    "SIMS",
    "Autoguidance",
    "PersonalizationSteering",
    "interpolate",
    "ICG",
    "TSG",
]
