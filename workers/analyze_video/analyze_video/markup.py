"""How times, and texts of strangers, are written into Markdown and captions."""


def clock(seconds: float) -> str:
    """`1:02:03.4`; the hours only if there are any."""
    tenths = round(seconds * 10)
    minutes, tenths = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    rest = f"{tenths // 10:02d}.{tenths % 10}"
    return f"{hours}:{minutes:02d}:{rest}" if hours else f"{minutes}:{rest}"


def timestamp(seconds: float, point: str) -> str:
    """`01:02:03.456`, with `point` before the milliseconds."""
    minutes, milliseconds = divmod(round(seconds * 1000), 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{milliseconds // 1000:02d}{point}{milliseconds % 1000:03d}"


def plain(text: str) -> str:
    """Escape an untrusted name, so that Markdown and HTML in it stay text."""
    text = "".join(character if character.isprintable() else "�" for character in text)
    return "".join(f"&#{ord(character)};" if character in "\\`*_[]<>#|&~$" else character for character in text)
