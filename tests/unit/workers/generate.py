"""Makes video files to test with. Runs in the worker's own environment: `python generate.py KIND PATH [NUMBER]`."""

import sys
from fractions import Fraction

import av
import numpy as np
from PIL import Image, ImageDraw, ImageFont  # type: ignore[import-not-found] # as numpy

_COLOURS = [(40, 90, 200), (200, 60, 40), (60, 190, 60), (220, 200, 60), (120, 40, 160), (230, 230, 230)]


def picture(colour: tuple[int, int, int], width: int, height: int, noise: int) -> np.ndarray:
    """One colour with a grain, so that it is no black frame and doesn't compress to nothing."""
    random = np.random.default_rng(sum(colour) + noise)
    grain = random.integers(0, 24, (height, width, 1), dtype=np.int16)
    return np.clip(np.array(colour, dtype=np.int16) + grain, 0, 255).astype(np.uint8)


def scenes(
    path: str, number: int, *, seconds: float = 1.0, size: tuple[int, int] = (320, 180), rotate: int = 0
) -> None:
    """`number` scenes of plain colours in MPEG-4, at 20 frames a second, without sound."""
    with av.open(path, "w") as out:
        stream = out.add_stream("mpeg4", rate=20)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.bit_rate = 2_000_000
        if rotate:
            stream.set_display_rotation(rotate)
        for scene in range(number):
            for index in range(int(20 * seconds)):
                image = picture(_COLOURS[scene % len(_COLOURS)], *size, index)
                out.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        out.mux(stream.encode())


def slides(path: str, *texts: str) -> None:
    """A second of each text, which may have several lines, on a colour of its own; 640 × 360."""
    with av.open(path, "w") as out:
        stream = out.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 640, 360, "yuv420p", 3_000_000
        for number, text in enumerate(texts):
            image = Image.new("RGB", (640, 360), _COLOURS[number % len(_COLOURS)])
            ImageDraw.Draw(image).multiline_text((40, 60), text, "black", ImageFont.load_default(28), spacing=20)
            for _ in range(10):
                out.mux(stream.encode(av.VideoFrame.from_image(image)))
        out.mux(stream.encode())


def film(
    path: str,
    codec: str,
    pixels: str,
    size: tuple[int, int],
    sound: str,
    *,
    rate: int = 20,
    seconds: float = 2.0,
    late: float = 0.0,
    gap: bool = False,
    rotate: int = 0,
    matrix: tuple[int, ...] = (),
) -> None:
    """Two colours, a white square in the upper left corner, and a tone from `late` seconds on. HDR if it has 10 bits.

    Args:
        path: The file.
        codec: The pictures' codec.
        pixels: Their format.
        size: Their width and height.
        sound: The sound's codec; `none` for no sound.
        rate: Pictures a second.
        seconds: The length.
        late: When the sound begins.
        gap: Whether a third of the pictures, in the middle, is missing.
        rotate: Degrees, counterclockwise, by which players turn the pictures.
        matrix: The first four numbers of the display matrix, each -1, 0 or 1.
    """
    with av.open(path, "w") as out:
        stream = out.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = *size, pixels
        stream.bit_rate = 1_000_000
        if rotate:
            stream.set_display_rotation(rotate)
        if matrix:
            a, b, c, d = (65536 * number for number in matrix)
            stream.set_display_matrix([a, b, 0, c, d, 0, 0, 0, 1 << 30])
        context = stream.codec_context
        if "10" in pixels:
            context.color_primaries, context.color_trc, context.colorspace = 9, 16, 9  # BT.2020, PQ
        if codec == "mpeg2video":
            context.options = {"flags": "+ilme+ildct"}
        hertz = 48000 if sound == "libopus" else 44100
        audio = None if sound == "none" else out.add_stream(sound, rate=hertz, layout="mono")
        count = round(rate * seconds)
        for index in range(count):
            if gap and count // 3 <= index < 2 * count // 3:
                continue
            image = picture(_COLOURS[2 * index // count], *size, index)
            image[: size[1] // 4, : size[0] // 4] = 255
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=pixels)
            frame.pts, frame.time_base = index, Fraction(1, rate)
            out.mux(stream.encode(frame))
        if audio is not None:
            length = round(hertz * (seconds - late))
            wave = (0.3 * np.sin(2 * np.pi * 440 * np.arange(length) / hertz) * 32767).astype(np.int16)
            for begin in range(0, length, hertz // 10):
                part = av.AudioFrame.from_ndarray(wave[None, begin : begin + hertz // 10], format="s16", layout="mono")
                part.sample_rate, part.pts = hertz, begin + round(late * hertz)
                part.time_base = Fraction(1, hertz)
                out.mux(audio.encode(part))
            out.mux(audio.encode())
        out.mux(stream.encode())


def combed(path: str) -> None:
    """A white bar that moves between the two fields of each picture: two seconds of interlaced MPEG-2."""
    with av.open(path, "w") as out:
        stream = out.add_stream("mpeg2video", rate=25)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 320, 240, "yuv420p", 8_000_000
        stream.codec_context.options = {"flags": "+ilme+ildct"}
        for index in range(50):
            image = np.zeros((240, 320, 3), np.uint8)
            image[0::2, 4 * index : 4 * index + 40] = 255
            image[1::2, 4 * index + 20 : 4 * index + 60] = 255
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p")
            out.mux(stream.encode(frame))
        out.mux(stream.encode())


def huge_pictures(path: str) -> None:
    """One grey frame of 8000 × 8000 pixels: 5 KB of file, 96 MB of memory."""
    with av.open(path, "w") as out:
        stream = out.add_stream("mpeg4", rate=20)
        stream.width, stream.height, stream.pix_fmt = 8000, 8000, "yuv420p"
        frame = av.VideoFrame(8000, 8000, "yuv420p")
        for plane in frame.planes:
            plane.update(b"\x80" * plane.buffer_size)
        out.mux(stream.encode(frame))
        out.mux(stream.encode())


def raw(path: str, megabytes: int) -> None:
    """Uncompressed 720p in Matroska: `megabytes` long, two scenes, quick to decode."""
    width, height = 1280, 720
    frames = megabytes * 1_000_000 // (width * height * 3 // 2)
    with av.open(path, "w") as out:
        stream = out.add_stream("rawvideo", rate=10)
        stream.width, stream.height = width, height
        stream.pix_fmt = "yuv420p"
        made = [
            av.VideoFrame.from_ndarray(picture(colour, width, height, 0), format="rgb24").reformat(format="yuv420p")
            for colour in _COLOURS[:2]
        ]
        for index in range(frames):
            frame = made[index * 2 // frames]
            frame.pts, frame.time_base = index, Fraction(1, 10)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())


def still(path: str, pictures: int) -> None:
    """One grey picture of 4096 × 2160, repeated every two seconds: 42,000 are a day in 13 MB."""
    stills = 100  # encoded once, and written again and again
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = 4096, 2160, "yuv420p"
    encoder.time_base, encoder.framerate = Fraction(2), Fraction(1, 2)
    encoder.options = {"preset": "ultrafast", "g": str(stills), "bf": "0", "rc-lookahead": "0", "crf": "51"}
    frame = av.VideoFrame(4096, 2160, "yuv420p")
    for plane in frame.planes:
        plane.update(b"\x80" * plane.buffer_size)
    made = []
    for index in range(stills):
        frame.pts = index
        made += encoder.encode(frame)
    made = [(bytes(packet), packet.is_keyframe) for packet in [*made, *encoder.encode()]]
    with av.open(path, "w") as out:
        stream = out.add_stream("libx264", rate=Fraction(1, 2))
        stream.width, stream.height, stream.pix_fmt = 4096, 2160, "yuv420p"
        for index in range(pictures):
            data, is_key = made[index % stills]
            packet = av.Packet(data)
            packet.pts = packet.dts = index
            packet.time_base, packet.stream, packet.is_keyframe = Fraction(2), stream, is_key
            out.mux(packet)


def tone(path: str, *, level: float, video: bool) -> None:
    """Three seconds of a 1 kHz sine; `level` is its amplitude, 0 to 1."""
    with av.open(path, "w") as out:
        audio = out.add_stream("pcm_s16le", rate=48000, layout="stereo")
        if video:
            stream = out.add_stream("mpeg4", rate=20)
            stream.width, stream.height, stream.pix_fmt = 160, 90, "yuv420p"
            for index in range(60):
                image = picture(_COLOURS[0], 160, 90, index)
                out.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            out.mux(stream.encode())
        wave = level * np.sin(2 * np.pi * 1000 * np.arange(3 * 48000) / 48000)
        samples = (wave * 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(np.repeat(samples, 2)[None, :], format="s16", layout="stereo")
        frame.sample_rate = 48000
        out.mux(audio.encode(frame))
        out.mux(audio.encode())


def tracks(path: str) -> None:
    """A Matroska of three seconds of pictures, the last third of one in a new colour, and what lasts longer.

    Its tracks of sound: silence of one channel, a tone of six seconds, and silence with a click at its end. A subtitle
    ends after a minute; 70 fonts are attached.
    """
    with av.open(path, "w") as out:
        stream = out.add_stream("mpeg4", rate=20)
        stream.width, stream.height, stream.pix_fmt = 160, 90, "yuv420p"
        sounds = [out.add_stream("pcm_s16le", rate=16000, layout="mono") for _ in range(3)]
        texts = out.add_mux_stream("subrip")
        for number in range(70):
            out.add_attachment(f"font-{number}.ttf", "font/ttf", b"\0\1\0\0")
        for index in range(60):
            image = picture(_COLOURS[index // 53], 160, 90, index)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        click = np.zeros(32000, np.int16)
        click[-1] = 9000
        tone = (9000 * np.sin(np.arange(6 * 16000) / 10)).astype(np.int16)
        for sound, samples in zip(sounds, (np.zeros(32000, np.int16), tone, click), strict=True):
            frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
            frame.sample_rate = 16000
            out.mux([*sound.encode(frame), *sound.encode()])
        text = av.Packet(b"The end")
        text.stream, text.pts, text.dts, text.duration, text.time_base = (
            texts,
            50_000,
            50_000,
            10_000,
            Fraction(1, 1000),
        )
        out.mux(text)
        out.mux(stream.encode())


def talk(path: str, *sounds: str) -> None:
    """Sound, one file after the other, each with three seconds of silence before it, under plain colours."""
    _under_colours(path, _spoken(*sounds))


def _spoken(*sounds: str) -> np.ndarray:
    """16 kHz, one channel: the files one after the other, each with three seconds of silence before it."""
    samples = []
    for sound in sounds:
        samples.append(np.zeros(3 * 16000, np.int16))
        with av.open(sound) as given:
            resampler = av.AudioResampler(format="s16", layout="mono", rate=16000)
            for frame in (*given.decode(audio=0), None):
                samples += [each.to_ndarray()[0] for each in resampler.resample(frame)]
    return np.concatenate(samples)


def long_talk(path: str, seconds: int, sound: str) -> None:
    """Speech at the beginning of every minute, under one picture each; the sound is encoded once, and written again."""
    spoken = _spoken(sound)
    encoder = _mp2(16000, "mono")
    made = _encoded(encoder, np.pad(spoken, (0, 60 * 16000 - len(spoken))))
    with av.open(path, "w") as out:
        audio = out.add_stream("mp2", rate=16000, layout="mono")
        stream = out.add_stream("mpeg4", rate=Fraction(1, 60))
        stream.width, stream.height, stream.pix_fmt = 160, 90, "yuv420p"
        for minute in range(seconds // 60):
            image = picture(_COLOURS[minute % len(_COLOURS)], 160, 90, minute)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            _write(out, audio, made, 16000, minute * 60 * 16000)
        out.mux(stream.encode())


def hard_talk(path: str, kind: str, *sounds: str) -> None:
    """The files' speech as sound that is hard to decode, in Matroska. `kind` is one of `_HARD`."""
    samples = _spoken(*sounds)
    with av.open(path, "w") as out:
        _HARD[kind](out, samples)


def _damaged(out: av.container.OutputContainer, samples: np.ndarray) -> None:
    """Four seconds in the middle of the first recording are rubbish."""
    encoder = _mp2(16000, "mono")
    made = _encoded(encoder, samples)
    rubbish = np.random.default_rng(1)
    for index in range(5 * 16000 // 1152, 9 * 16000 // 1152):
        made[index] = rubbish.integers(0, 255, len(made[index]), dtype=np.uint8).tobytes()
    audio = out.add_stream("mp2", rate=16000, layout="mono")
    _colours(out, len(samples) / 16000)
    _write(out, audio, made, 16000, 0)


def _changing_rate(out: av.container.OutputContainer, samples: np.ndarray) -> None:
    """The first half has 16,000 samples a second and one channel, the second 48,000 and two."""
    half = len(samples) // 2 // 1152 * 1152
    first, second = _mp2(16000, "mono"), _mp2(48000, "stereo")
    audio = out.add_stream("mp2", rate=16000, layout="mono")
    _colours(out, len(samples) / 16000)
    _write(out, audio, _encoded(first, samples[:half]), 16000, 0)
    _write(out, audio, _encoded(second, np.repeat(np.repeat(samples[half:], 3), 2)), 48000, half * 3)


def _eight_channels(out: av.container.OutputContainer, samples: np.ndarray) -> None:
    """7.1, as of a film: all speech is in the centre."""
    audio = out.add_stream("pcm_s16le", rate=16000, layout="7.1")
    _colours(out, len(samples) / 16000)
    channels = np.zeros((len(samples), 8), np.int16)
    channels[:, 2] = samples
    frame = av.AudioFrame.from_ndarray(channels.reshape(1, -1), format="s16", layout="7.1")
    frame.sample_rate = 16000
    out.mux(audio.encode(frame))
    out.mux(audio.encode())


def _two_tracks(out: av.container.OutputContainer, samples: np.ndarray) -> None:
    """Loud music in stereo first, and then speech, which is the default track."""
    encoders = _mp2(48000, "stereo"), _mp2(16000, "mono")
    audio = [out.add_stream("mp2", rate=rate, layout=layout) for rate, layout in ((48000, "stereo"), (16000, "mono"))]
    audio[0].disposition = av.stream.Disposition(0)
    audio[1].disposition = av.stream.Disposition.default
    _colours(out, len(samples) / 16000)
    chords = np.repeat(np.repeat(_chords(len(samples) // 16000), 3), 2)
    _write(out, audio[0], _encoded(encoders[0], chords), 48000, 0)
    _write(out, audio[1], _encoded(encoders[1], samples), 16000, 0)


def _unknown_first(out: av.container.OutputContainer, samples: np.ndarray) -> None:
    """The default track is PCM, of which the test makes something unknown; the other one is MP2."""
    encoder = _mp2(16000, "mono")
    audio = [out.add_stream(codec, rate=16000, layout="mono") for codec in ("pcm_s16le", "mp2")]
    audio[0].disposition = av.stream.Disposition.default
    audio[1].disposition = av.stream.Disposition(0)
    _colours(out, len(samples) / 16000)
    frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
    frame.sample_rate = 16000
    out.mux(audio[0].encode(frame))
    out.mux(audio[0].encode())
    _write(out, audio[1], _encoded(encoder, samples), 16000, 0)


def _longer_pictures(out: av.container.OutputContainer, samples: np.ndarray) -> None:
    encoder = _mp2(16000, "mono")
    audio = out.add_stream("mp2", rate=16000, layout="mono")
    _colours(out, len(samples) / 16000 + 60)
    _write(out, audio, _encoded(encoder, samples), 16000, 0)


def _longer_sound(out: av.container.OutputContainer, samples: np.ndarray) -> None:
    encoder = _mp2(16000, "mono")
    audio = out.add_stream("mp2", rate=16000, layout="mono")
    _colours(out, len(samples) / 16000 - 4)
    _write(out, audio, _encoded(encoder, samples), 16000, 0)


_HARD = {
    "damaged": _damaged,
    "changing-rate": _changing_rate,
    "eight-channels": _eight_channels,
    "two-tracks": _two_tracks,
    "unknown-first": _unknown_first,
    "longer-pictures": _longer_pictures,
    "longer-sound": _longer_sound,
}


def _mp2(rate: int, layout: str) -> av.AudioCodecContext:
    """An encoder whose packets each say their rate and channels."""
    encoder = av.CodecContext.create("mp2", "w")
    encoder.sample_rate, encoder.layout, encoder.format, encoder.bit_rate = rate, layout, "s16", 64_000
    encoder.time_base = Fraction(1, rate)
    return encoder


def _encoded(encoder: av.AudioCodecContext, samples: np.ndarray) -> list[bytes]:
    """Packets of 1,152 samples a channel. Samples of two channels take turns."""
    packets, width = [], 1152 * len(encoder.layout.channels)
    for start in range(0, len(samples) - width + 1, width):
        frame = av.AudioFrame.from_ndarray(
            samples[None, start : start + width], format="s16", layout=encoder.layout.name
        )
        frame.sample_rate = encoder.sample_rate
        packets += [bytes(packet) for packet in encoder.encode(frame)]
    return [*packets, *(bytes(packet) for packet in encoder.encode())]


def _write(out: av.container.OutputContainer, stream: av.AudioStream, packets: list[bytes], rate: int, at: int) -> None:
    """Write packets from the sample `at` on."""
    for index, data in enumerate(packets):
        packet = av.Packet(data)
        packet.pts = packet.dts = at + index * 1152
        packet.duration, packet.time_base, packet.stream, packet.is_keyframe = 1152, Fraction(1, rate), stream, True
        out.mux(packet)


def _colours(out: av.container.OutputContainer, seconds: float) -> None:
    """Plain colours, two pictures a second. Call it when all streams are there."""
    stream = out.add_stream("mpeg4", rate=2)
    stream.width, stream.height, stream.pix_fmt = 160, 90, "yuv420p"
    for index in range(int(2 * seconds)):
        image = picture(_COLOURS[index // 20 % len(_COLOURS)], 160, 90, index)
        out.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
    out.mux(stream.encode())


def music(path: str, seconds: int) -> None:
    """Chords of three sawtooth notes, one a second, with a drum: loud, and without any words."""
    _under_colours(path, _chords(seconds))


def _chords(seconds: int) -> np.ndarray:
    time = np.arange(16000) / 16000
    bars = []
    for bar in range(seconds):
        notes = [220 * 2 ** (step / 12) for step in ((0, 4, 7), (5, 9, 12), (7, 11, 14), (-3, 0, 4))[bar % 4]]
        chord = sum(2 * ((time * note) % 1) - 1 for note in notes) / 6 * np.exp(-time)
        drum = np.sin(2 * np.pi * 60 * time) * np.exp(-20 * time)
        bars.append(chord + drum / 2)
    return (np.concatenate(bars) * 20000).astype(np.int16)


def _under_colours(path: str, samples: np.ndarray) -> None:
    """A video as long as its sound: 16 kHz, one channel. A new colour every ten seconds."""
    with av.open(path, "w") as out:
        audio = out.add_stream("aac", rate=16000, layout="mono")
        stream = out.add_stream("mpeg4", rate=2)
        stream.width, stream.height, stream.pix_fmt = 160, 90, "yuv420p"
        for index in range(2 * len(samples) // 16000):
            image = picture(_COLOURS[index // 20 % len(_COLOURS)], 160, 90, index)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            piece = samples[index * 8000 : (index + 1) * 8000]
            frame = av.AudioFrame.from_ndarray(piece[None, :], format="s16", layout="mono")
            frame.sample_rate, frame.pts = 16000, index * 8000
            out.mux(audio.encode(frame))
        out.mux(stream.encode())
        out.mux(audio.encode())


def slow_sound(path: str) -> None:
    """Four thousand samples at one a second, in 25 KB: over an hour, and gigabytes at an ordinary rate."""
    with av.open(path, "w") as out:
        audio = out.add_stream("pcm_s16le", rate=1, layout="mono")
        stream = out.add_stream("mpeg4", rate=20)
        stream.width, stream.height, stream.pix_fmt = 160, 90, "yuv420p"
        for second in (0, 3999):
            shown = av.VideoFrame(160, 90, "yuv420p")
            shown.pts, shown.time_base = second * 20, Fraction(1, 20)
            out.mux(stream.encode(shown))
        out.mux(stream.encode())
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4000), dtype=np.int16), format="s16", layout="mono")
        frame.sample_rate = 1
        out.mux(audio.encode(frame))
        out.mux(audio.encode())


match sys.argv[1:]:
    case ["scenes", target, number]:
        scenes(target, int(number))
    case ["short-scenes", target, number]:
        scenes(target, int(number), seconds=0.75, size=(64, 36))
    case ["slides", target, *texts]:
        slides(target, *texts)
    case ["film", target, codec, pixels, width, height, sound, *further]:
        told = {name: float(value) for name, _, value in (each.partition("=") for each in further)}
        film(
            target,
            codec,
            pixels,
            (int(width), int(height)),
            sound,
            rate=int(told.get("rate", 20)),
            seconds=told.get("seconds", 2),
            late=told.get("late", 0),
            gap="gap" in told,
            rotate=int(told.get("rotate", 0)),
            matrix=tuple(int(told[name]) for name in "abcd" if name in told),
        )
    case ["tracks", target]:
        tracks(target)
    case ["combed", target]:
        combed(target)
    case ["rotated", target]:
        scenes(target, 1, rotate=90)
    case ["huge-pictures", target]:
        huge_pictures(target)
    case ["raw", target, megabytes]:
        raw(target, int(megabytes))
    case ["still", target, pictures]:
        still(target, int(pictures))
    case ["tone", target]:
        tone(target, level=0.1, video=True)
    case ["silence", target]:
        tone(target, level=0.0, video=True)
    case ["sound-only", target]:
        tone(target, level=0.1, video=False)
    case ["talk", target, *sounds]:
        talk(target, *sounds)
    case ["hard-talk", target, kind, *sounds]:
        hard_talk(target, kind, *sounds)
    case ["long-talk", target, seconds, sound]:
        long_talk(target, int(seconds), sound)
    case ["music", target, seconds]:
        music(target, int(seconds))
    case ["slow-sound", target]:
        slow_sound(target)
    case unknown:
        sys.exit(f"can't make {unknown}")
