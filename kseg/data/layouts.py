"""Layouts of data sets as people have them: a table, not code. A new one is a row of `LAYOUTS`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True)
class Layout:
    """Where the files of a data set are, and what its ids mean.

    Attributes:
        name: of the layout.
        images, masks: patterns of `kseg.data.patterns`.
        split_file: `None` or the pattern of the lists that say which picture is in which split.
        divided: `None` or the list that "train" and "val" are drawn from where they have none of their own.
        other_lists: names that match `split_file` and are no splits of their own.
        class_names: one name per class; none where the files tell.
        label_map: id in the file → id; what it does not name stays.
        names_file: `None` or the pattern of a file of names: YAML, CSV, or lines of a name and more.
        colors_file: `None` or the pattern of a file that says what the colours of the masks mean.
        told_by: patterns of files that must be there, beside pictures and masks, to know it by.
        own: whether it is kseg's own, which need not be told.
    """

    name: str
    images: str
    masks: str
    split_file: str | None = None
    divided: str | None = None
    other_lists: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()
    label_map: Mapping[int, int] = field(default_factory=lambda: MappingProxyType({}))
    names_file: str | None = None
    colors_file: str | None = None
    told_by: tuple[str, ...] = ()
    own: bool = False


def _only(ids: Mapping[int, int]) -> Mapping[int, int]:
    """Return a map of these ids; all other 8-bit ids are void."""
    return MappingProxyType({id: ids.get(id, 255) for id in range(256)})


def _from_one(count: int) -> Mapping[int, int]:
    """Return the map of ids that begin at 1, where 0 is void."""
    return MappingProxyType({0: 255, **{id: id - 1 for id in range(1, count + 1)}})


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(","))


_CITYSCAPES = _names(
    "road, sidewalk, building, wall, fence, pole, traffic light, traffic sign, vegetation, terrain, "
    "sky, person, rider, car, truck, bus, train, motorcycle, bicycle"
)
_CITYSCAPES_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
_VOC = _names(
    "background, aeroplane, bicycle, bird, boat, bottle, bus, car, cat, chair, cow, diningtable, dog, "
    "horse, motorbike, person, pottedplant, sheep, sofa, train, tvmonitor"
)
_CAMVID = _names("sky, building, pole, road, pavement, tree, sign symbol, fence, car, pedestrian, bicyclist")
_LOVEDA = _names("background, building, road, water, barren, forest, agricultural")
_ADE20K = _names(
    "wall, building, sky, floor, tree, ceiling, road, bed, windowpane, grass, cabinet, sidewalk, "
    "person, earth, door, table, mountain, plant, curtain, chair, car, water, painting, sofa, shelf, "
    "house, sea, mirror, rug, field, armchair, seat, fence, desk, rock, wardrobe, lamp, bathtub, "
    "railing, cushion, base, box, column, signboard, chest of drawers, counter, sand, sink, skyscraper, "
    "fireplace, refrigerator, grandstand, path, stairs, runway, case, pool table, pillow, screen door, "
    "stairway, river, bridge, bookcase, blind, coffee table, toilet, flower, book, hill, bench, "
    "countertop, stove, palm, kitchen island, computer, swivel chair, boat, bar, arcade machine, hovel, "
    "bus, towel, light, truck, tower, chandelier, awning, streetlight, booth, television receiver, "
    "airplane, dirt track, apparel, pole, land, bannister, escalator, ottoman, bottle, buffet, poster, "
    "stage, van, ship, fountain, conveyer belt, canopy, washer, plaything, swimming pool, stool, "
    "barrel, basket, waterfall, tent, bag, minibike, cradle, oven, ball, food, step, tank, trade name, "
    "microwave, pot, animal, bicycle, lake, dishwasher, screen, blanket, sculpture, hood, sconce, vase, "
    "traffic light, tray, ashcan, fan, pier, crt screen, plate, monitor, bulletin board, shower, "
    "radiator, glass, clock, flag"
)

# In the order in which they are looked for: those with more to be told by first.
LAYOUTS = (
    Layout("kseg_unsplit", "images/**/*", "masks/**/*", told_by=("images/*", "masks/*"), own=True),
    Layout("kseg", "{split}/images/**/*", "{split}/masks/**/*", own=True),
    Layout(
        "cityscapes",
        "leftImg8bit/{split}/**/*_leftImg8bit.png",
        "gtFine/{split}/**/*_gtFine_labelIds.png",
        class_names=_CITYSCAPES,
        label_map=_only({id: number for number, id in enumerate(_CITYSCAPES_IDS)}),
    ),
    Layout(
        "cityscapes_train_ids",
        "leftImg8bit/{split}/**/*_leftImg8bit.png",
        "gtFine/{split}/**/*_gtFine_labelTrainIds.png",
        class_names=_CITYSCAPES,
    ),
    Layout(
        "cvat",
        "JPEGImages/**/*",
        "SegmentationClass/**/*",
        split_file="ImageSets/Segmentation/{split}.txt",
        divided="default",
        colors_file="labelmap.txt",
        told_by=("labelmap.txt",),
    ),
    Layout(
        "voc",
        "JPEGImages/*",
        "SegmentationClass/*.png",
        split_file="ImageSets/Segmentation/{split}.txt",
        other_lists=("trainval",),
        class_names=_VOC,
    ),
    Layout(
        "voc_devkit",
        "VOCdevkit/VOC2012/JPEGImages/*",
        "VOCdevkit/VOC2012/SegmentationClass/*.png",
        split_file="VOCdevkit/VOC2012/ImageSets/Segmentation/{split}.txt",
        other_lists=("trainval",),
        class_names=_VOC,
    ),
    Layout(
        "ade20k",
        "images/{split}/*.jpg",
        "annotations/{split}/*.png",
        class_names=_ADE20K,
        label_map=_from_one(150),
        told_by=("annotations/training/*",),
    ),
    Layout(
        "oxford_pets",
        "images/*.jpg",
        "annotations/trimaps/*.png",
        split_file="annotations/{split}.txt",
        divided="trainval",
        other_lists=("list",),
        class_names=("pet", "background", "border"),
        label_map=_from_one(3),
    ),
    Layout(
        "loveda",
        "{split}/*/images_png/*.png",
        "{split}/*/masks_png/*.png",
        class_names=_LOVEDA,
        label_map=_from_one(7),
    ),
    Layout("mapillary", "{split}/images/*", "{split}/v2.0/labels/*.png", names_file="config_v2.0.json"),
    Layout("mapillary_v1.2", "{split}/images/*", "{split}/v1.2/labels/*.png", names_file="config_v1.2.json"),
    Layout(
        "mapillary_v1.1",
        "{split}/images/*",
        "{split}/labels/*.png",
        names_file="config.json",
        told_by=("config.json",),
    ),
    Layout("mmsegmentation", "img_dir/{split}/**/*", "ann_dir/{split}/**/*"),
    Layout(
        "camvid",
        "{split}/*.png",
        "{split}annot/*.png",
        class_names=_CAMVID,
        label_map=MappingProxyType({11: 255}),
    ),
    Layout(
        "camvid_colors",
        "701_StillsRaw_full/*.png",
        "LabeledApproved_full/*_L.png",
        colors_file="label_colors.txt",
    ),
    Layout(
        "roboflow",
        "{split}/*",
        "{split}/*_mask.png",
        names_file="{split}/_classes.csv",
        told_by=("{split}/_classes.csv",),
    ),
    Layout("ultralytics", "images/{split}/**/*", "masks/{split}/**/*", names_file="*.yaml"),
)


def list_layouts() -> list[str]:
    """Return the names of the layouts that `kseg.data.from_directory` knows, for its `layout=`.

    Example:
        >>> "cityscapes" in list_layouts()
        True
    """
    return [layout.name for layout in LAYOUTS]
