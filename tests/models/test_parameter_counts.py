"""Every architecture has exactly the parameters of its reference.

The counts are those of the released definitions (Caffe's prototxt files, PyTorch, TensorFlow), walked layer
by layer; those that papers or package documents print are among them: 20,505,429 (DeepLab v1), 141,149,720
(Dilation8), 41,258,213 (DeepLab v3+ with batch statistics), 65,708,501 (PSPNet-101), 5,695,987
(DDRNet-23-slim), 42,004,074 (torchvision's DeepLab v3).
"""

import pytest

import kseg

TORCHVISION = {"multi_grid": (1, 1, 1), "output_stride": 8, "head_conv": True}
AUX = {"aux_heads": True}
PLAIN_UNET = {"normalization": None}

# name, arguments, {classes: parameters that learn}, batch statistics (None: not in the source)
ROWS = [
    ("conv_stack", {"depth": 4, "normalization": None}, {11: 113_291, 12: 113_356}, 0),
    ("conv_stack", {"depth": 5, "normalization": None}, {11: 150_219, 12: 150_284}, 0),
    ("conv_stack", {"depth": 6}, {11: 187_531, 12: 187_596}, 768),
    ("encoder_decoder", {"normalization": None}, {11: 27_898_955}, 0),
    ("encoder_decoder", {}, {11: 27_904_843}, None),
    ("encoder_decoder", {"downsampling": "stride"}, {11: 27_904_843}, None),
    ("encoder_decoder", {"normalization": None, "upsampling": "bilinear"}, {11: 28_246_155}, 0),
    (
        "fcn",
        {"output_stride": 32},
        {11: 134_305_611, 12: 134_309_708, 19: 134_338_387, 21: 134_346_581},
        0,
    ),
    (
        "fcn",
        {"output_stride": 32, "upsampling": "transpose"},
        {11: 134_801_227, 12: 134_899_532, 19: 135_817_043, 21: 136_152_917},
        0,
    ),
    (
        "fcn",
        {"output_stride": 16},
        {11: 134_311_254, 12: 134_315_864, 19: 134_348_134, 21: 134_357_354},
        0,
    ),
    (
        "fcn",
        {"output_stride": 16, "upsampling": "transpose"},
        {11: 134_437_094, 12: 134_465_624, 19: 134_723_574, 21: 134_815_994},
        0,
    ),
    ("fcn", {}, {11: 134_314_081, 12: 134_318_948, 19: 134_353_017, 21: 134_362_751}, 0),
    (
        "fcn",
        {"upsampling": "transpose"},
        {11: 134_348_929, 12: 134_360_420, 19: 134_456_985, 21: 134_489_759},
        0,
    ),
    ("fcn", {"variant": "alexnet"}, {11: 56_913_291, 21: 56_954_261}, 0),
    ("fcn", {"variant": "alexnet", "upsampling": "transpose"}, {11: 57_393_540, 21: 58_704_590}, 0),
    ("fcn", {"variant": "alexnet_ungrouped"}, {11: 58_326_411, 21: 58_367_381}, 0),
    ("fcn", {"variant": "resnet50"}, {11: 32_951_883, 19: 32_955_987, 21: 32_957_013}, None),
    ("fcn", {"variant": "resnet50", **AUX}, {11: 35_314_518, 19: 35_320_678, 21: 35_322_218}, None),
    ("fcn", {"variant": "resnet101"}, {11: 51_944_011, 19: 51_948_115, 21: 51_949_141}, None),
    ("fcn", {"variant": "resnet101", **AUX}, {11: 54_306_646, 19: 54_312_806, 21: 54_314_346}, None),
    ("segnet", {}, {11: 29_449_355, 12: 29_449_932, 19: 29_453_971, 21: 29_455_125}, 15_872),
    (
        "segnet",
        {"use_bias": False},
        {11: 29_441_419, 12: 29_441_996, 19: 29_446_035, 21: 29_447_189},
        15_872,
    ),
    ("segnet", {"variant": "basic"}, {11: 1_416_587, 12: 1_416_652}, 1_024),
    ("unet", PLAIN_UNET, {11: 31_032_395, 12: 31_032_460, 19: 31_032_915, 21: 31_033_045}, 0),
    ("unet", {}, {11: 31_038_283, 12: 31_038_348, 19: 31_038_803, 21: 31_038_933}, 11_776),
    (
        "unet",
        {"upsampling": "bilinear"},
        {11: 17_263_627, 12: 17_263_692, 19: 17_264_147, 21: 17_264_277},
        None,
    ),
    ("dilatednet", {"context": None}, {11: 134_305_611, 19: 134_338_387, 21: 134_346_581}, 0),
    ("dilatednet", {}, {11: 134_313_443, 19: 134_361_643, 21: 134_374_973}, 0),
    ("dilatednet", {"context": "large"}, {11: 136_172_740, 19: 139_907_572, 21: 141_149_720}, 0),
    ("dilatednet", {"variant": "dilation10"}, {11: 134_315_643, 19: 134_368_179, 21: 134_382_953}, 0),
    ("deeplabv1", {}, {11: 20_495_179, 19: 20_503_379, 21: 20_505_429}, 0),
    ("deeplabv1", {"variant": "4x4"}, {11: 65_099_595, 19: 65_132_371, 21: 65_140_565}, 0),
    ("deeplabv1", {"variant": "7x7"}, {11: 134_305_611, 19: 134_338_387, 21: 134_346_581}, 0),
    ("deeplabv2", {}, {11: 37_836_652, 19: 37_869_452, 21: 37_877_652}, 0),
    ("deeplabv2", {"variant": "resnet101"}, {11: 43_311_212, 19: 43_901_068, 21: 44_048_532}, 105_344),
    ("deeplabv3", {}, {11: 39_045_963, 19: 39_048_019, 21: 39_048_533}, 53_120 + 3_072),
    ("deeplabv3", {"variant": "resnet101"}, {11: 58_038_091, 19: 58_040_147, 21: 58_040_661}, 108_416),
    ("deeplabv3", TORCHVISION, {11: 39_636_299, 19: 39_638_355, 21: 39_638_869}, None),
    ("deeplabv3", {**TORCHVISION, **AUX}, {11: 41_998_934, 19: 42_003_046, 21: 42_004_074}, None),
    (
        "deeplabv3",
        {**TORCHVISION, "variant": "resnet101"},
        {11: 58_628_427, 19: 58_630_483, 21: 58_630_997},
        None,
    ),
    (
        "deeplabv3",
        {**TORCHVISION, "variant": "resnet101", **AUX},
        {11: 60_991_062, 19: 60_995_174, 21: 60_996_202},
        None,
    ),
    (
        "deeplabv3plus",
        {"variant": "resnet50", "separable": False},
        {11: 40_349_611, 19: 40_351_667, 21: 40_352_181},
        53_120 + 4_192,
    ),
    (
        "deeplabv3plus",
        {"variant": "resnet50"},
        {11: 26_693_563, 19: 26_695_619, 21: 26_696_133},
        53_120 + 17_600,
    ),
    (
        "deeplabv3plus",
        {"variant": "resnet101", "separable": False},
        {11: 59_341_739, 19: 59_343_795, 21: 59_344_309},
        105_344 + 4_192,
    ),
    (
        "deeplabv3plus",
        {"variant": "resnet101"},
        {11: 45_685_691, 19: 45_687_747, 21: 45_688_261},
        105_344 + 17_600,
    ),
    ("deeplabv3plus", {}, {11: 41_052_843, 19: 41_054_899, 21: 41_055_413}, 202_800),
    ("deeplabv3plus", {"variant": "mobilenet_v2"}, {11: 2_110_987, 19: 2_113_043, 21: 2_113_557}, 33_088),
    ("pspnet", {}, {11: 46_711_243, 19: 46_715_347, 21: 46_716_373}, 58_624),
    ("pspnet", AUX, {11: 49_073_878, 19: 49_080_038, 21: 49_081_578}, 58_624 + 512),
    ("pspnet", {"variant": "resnet101"}, {11: 65_703_371, 19: 65_707_475, 21: 65_708_501}, 110_848),
    ("pspnet", {"variant": "resnet101", **AUX}, {11: 68_066_006, 19: 68_072_166, 21: 68_073_706}, 111_360),
    ("pspnet", {"stem": "7x7"}, {11: 46_587_467, 19: 46_591_571, 21: 46_592_597}, None),
    ("pspnet", {"stem": "7x7", **AUX}, {11: 48_950_102, 19: 48_956_262, 21: 48_957_802}, None),
    (
        "pspnet",
        {"stem": "7x7", "variant": "resnet101"},
        {11: 65_579_595, 19: 65_583_699, 21: 65_584_725},
        None,
    ),
    (
        "pspnet",
        {"stem": "7x7", "variant": "resnet101", **AUX},
        {11: 67_942_230, 19: 67_948_390, 21: 67_949_930},
        None,
    ),
    ("ddrnet", {}, {11: 5_695_467, 12: 5_695_532, 19: 5_695_987, 21: 5_696_117}, 19_840),
    ("ddrnet", AUX, {11: 5_733_302, 12: 5_733_432, 19: 5_734_342, 21: 5_734_602}, 20_096),
    ("ddrnet", {"variant": "23"}, {11: 20_147_915, 12: 20_148_044, 19: 20_148_947, 21: 20_149_205}, 37_376),
    (
        "ddrnet",
        {"variant": "23", **AUX},
        {11: 20_297_302, 12: 20_297_560, 19: 20_299_366, 21: 20_299_882},
        37_888,
    ),
    ("ddrnet", {"variant": "39"}, {11: 32_358_219, 12: 32_358_476, 19: 32_360_275, 21: 32_360_789}, 48_384),
    (
        "ddrnet",
        {"variant": "39", **AUX},
        {11: 32_656_726, 12: 32_657_240, 19: 32_660_838, 21: 32_661_866},
        49_152,
    ),
]


def cases():
    """Yield every count of every row; of the most classes those are quick that show an argument first."""
    shown = set()
    for name, arguments, counts, statistics in ROWS:
        new = {(name, *each) for each in arguments.items()} | {(name,)}
        first = not new <= shown
        shown |= new
        options = [f"{key}={value}" for key, value in arguments.items()]
        for num_classes, learn in counts.items():
            marks = [] if first and num_classes == max(counts) else pytest.mark.slow
            label = "-".join([name, *options, f"classes={num_classes}"])
            yield pytest.param(name, arguments, num_classes, learn, statistics, id=label, marks=marks)


@pytest.mark.parametrize(("name", "arguments", "num_classes", "learn", "statistics"), list(cases()))
@pytest.mark.slow_after(16)
def test_parameters_of_the_reference(count, name, arguments, num_classes, learn, statistics):
    got, total = count(getattr(kseg, f"build_{name}"), num_classes, **arguments)
    assert got == learn
    assert statistics is None or total - got == statistics
