"""How an image file becomes the input of a network, for a card: in words, and as code, which tests run."""

from mcl.data.preprocessing import Preprocessing

_WORDS = """\
An image file is rotated as its EXIF orientation says, its transparent parts become white, and its pixels become 8-bit
values of {color}. {cut}"""
_CODE = """\
def read(file):
    photo = Image.open(file)  # of 8 bits a channel
{draft}\
    photo = ImageOps.exif_transpose(photo).convert("RGBA")
    photo = Image.alpha_composite(Image.new("RGBA", photo.size, "white"), photo).convert("{mode}")
{cut}

images = numpy.stack([read("image.png")]).reshape(-1, {size}, {size}, {channels}).transpose(0, 3, 1, 2)  # uint8"""
_DRAFT = "    photo.draft(None, ({draft}, {draft}))  # a large JPEG is decoded at a fraction of its size\n"
_SQUARE = "    return numpy.asarray(ImageOps.fit(photo, ({size}, {size}), Image.Resampling.BILINEAR))"
_CENTER = """\
    width, height = ({resize} * side // min(photo.size) for side in photo.size)
    left, top = round((width - {size}) / 2), round((height - {size}) / 2)
    photo = photo.resize((width, height), Image.Resampling.BILINEAR)
    return numpy.asarray(photo.crop((left, top, left + {size}, top + {size})))"""


def describe_reading(spec: Preprocessing) -> str:
    """Return the steps from an image file to pixels, in words."""
    size = f"{spec.image_size} x {spec.image_size} pixels"
    if spec.resize is None:
        cut = f"The largest centered square is resampled bilinearly, with antialiasing, to {size}."
    else:
        cut = (
            f"The image is resampled bilinearly, with antialiasing, so that its shorter side has {spec.resize} pixels;"
            f" then the center of {size} is cropped."
        )
    color = "gray" if spec.channels == 1 else "red, green and blue, in this order"
    return _WORDS.replace("\n", " ").format(color=color, cut=cut)


def reading_code(spec: Preprocessing) -> str:
    """Return the lines that read image files with numpy and Pillow alone: ``images``, of the pixels that mcl reads."""
    size = spec.image_size
    draft, cut = (_DRAFT.format(draft=2 * size), _SQUARE) if spec.resize is None else ("", _CENTER)
    mode = "L" if spec.channels == 1 else "RGB"
    cut = cut.format(size=size, resize=spec.resize)
    return _CODE.format(draft=draft, cut=cut, mode=mode, size=size, channels=spec.channels)
