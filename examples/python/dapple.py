"""Dapple from Python: ctypes over libdapple.so, nothing to install.

    import dapple
    model = dapple.Model("model.gguf")
    with model.session(model.chat("Who wrote it?\n\n" + text)) as session:
        for piece in session.answer():
            print(piece, end="")
        print(session.report())

Errors are DappleError, with the library's code and its one line of text. The
library is looked for where the loader looks; DAPPLE_LIBRARY names another.
"""

import ctypes
import os
from ctypes import (
    CFUNCTYPE,
    POINTER,
    Structure,
    byref,
    c_char,
    c_char_p,
    c_double,
    c_float,
    c_int,
    c_int32,
    c_size_t,
    c_uint32,
    c_uint64,
    c_void_p,
)

OK, CANCELLED, END = 0, 7, 100
ADD_BOS, PARSE_SPECIAL = 1, 2


class DappleError(Exception):
    """code: a dapple_code of dapple.h."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


class _Struct(Structure):
    """Sets struct_size; encodes str fields."""

    def __init__(self, **values):
        encoded = {
            key: value.encode() if isinstance(value, str) else value
            for key, value in values.items()
            if value is not None
        }
        super().__init__(struct_size=ctypes.sizeof(self), **encoded)

    def to_dict(self):
        found = {}
        for name, *_ in self._fields_[1:]:
            value = getattr(self, name)
            found[name] = value.decode() if isinstance(value, bytes) else value
        return found


class _Error(Structure):
    _fields_ = [("code", c_int), ("message", c_char * 1020)]


class ModelOptions(_Struct):
    _fields_ = [
        ("struct_size", c_size_t),
        ("path", c_char_p),
        ("gemm", c_char_p),
        ("threads", c_int32),
    ]


class ModelInfo(_Struct):
    _fields_ = [
        ("struct_size", c_size_t),
        ("name", c_char_p),
        ("context", c_size_t),
        ("vocab", c_size_t),
        ("threads", c_int32),
    ]


class Chat(_Struct):
    _fields_ = [
        ("struct_size", c_size_t),
        ("system", c_char_p),
        ("user", c_char_p),
        ("lead_in", c_char_p),
        ("chat_template", c_char_p),
        ("think", c_int32),
    ]


class SessionOptions(_Struct):
    _fields_ = [
        ("struct_size", c_size_t),
        ("prompt_tokens", c_size_t),
        ("max_new_tokens", c_size_t),
        ("ram_bytes", c_uint64),
        ("policy", c_char_p),
        ("keep", c_char_p),
        ("schedule", c_char_p),
        ("weights", c_char_p),
        ("kv", c_char_p),
        ("spill_folder", c_char_p),
        ("chunk_tokens", c_size_t),
        ("probe_tokens", c_size_t),
        ("generation_slots", c_size_t),
        ("drop_oldest", c_int32),
        ("beyond_context", c_int32),
        ("quote_tokens", c_size_t),
    ]


class Plan(_Struct):
    _fields_ = [
        ("struct_size", c_size_t),
        ("fits", c_int32),
        ("cap_bytes", c_uint64),
        ("total_bytes", c_uint64),
        ("prefill_bytes", c_uint64),
        ("decode_bytes", c_uint64),
        ("spill_bytes", c_uint64),
        ("keep_tokens", c_size_t),
        ("longest_prompt", c_size_t),
        ("schedule", c_char * 16),
        ("weights", c_char * 16),
        ("kv", c_char * 8),
        ("text", c_char * 500),
    ]


class Sampling(_Struct):
    _fields_ = [
        ("struct_size", c_size_t),
        ("temperature", c_float),
        ("top_k", c_int32),
        ("top_p", c_float),
        ("min_p", c_float),
        ("repetition_penalty", c_float),
        ("seed", c_uint64),
    ]


class Token(_Struct):
    _fields_ = [
        ("struct_size", c_size_t),
        ("id", c_int32),
        ("text", c_void_p),
        ("bytes", c_size_t),
        ("paragraph", c_size_t),
    ]

    def string(self):
        return ctypes.string_at(self.text, self.bytes).decode() if self.bytes else ""


class Report(_Struct):
    _fields_ = [
        ("struct_size", c_size_t),
        ("prompt_tokens", c_size_t),
        ("generated_tokens", c_size_t),
        ("prefill_s", c_double),
        ("decode_s", c_double),
        ("kept_share", c_double),
        ("kept_bytes", c_uint64),
        ("full_kv_bytes", c_uint64),
        ("least_coverage", c_double),
        ("median_coverage", c_double),
        ("planned_bytes", c_uint64),
        ("peak_bytes", c_uint64),
    ]


_Progress = CFUNCTYPE(c_int, c_void_p, c_uint64, c_uint64)
_library = None


def _lib():
    global _library
    if _library is None:
        lib = ctypes.CDLL(os.environ.get("DAPPLE_LIBRARY", "libdapple.so.0"))
        # Pointers would be cut to int without these.
        lib.dapple_version.restype = c_char_p
        ids = POINTER(c_int32)
        out = POINTER(c_size_t)
        for name, arguments in {
            "open": [c_void_p, POINTER(c_void_p), c_void_p],
            "close": [c_void_p],
            "describe": [c_void_p] * 3,
            "encode": [c_void_p, c_char_p, c_size_t, c_uint32, ids, c_size_t, out]
            + [c_void_p],
            "encode_chat": [c_void_p, c_void_p, ids, c_size_t, out, c_void_p],
            "plan_session": [c_void_p] * 4,
            "plan_file": [c_void_p] * 4,
            "session_new": [c_void_p, c_void_p, POINTER(c_void_p), c_void_p],
            "session_close": [c_void_p],
            "prefill": [c_void_p, ids, c_size_t, _Progress, c_void_p, c_void_p],
            "sample": [c_void_p] * 3,
            "quote": [c_void_p, c_char_p, c_size_t, c_size_t, c_size_t, c_void_p],
            "next": [c_void_p] * 3,
            "session_report": [c_void_p] * 3,
        }.items():
            getattr(lib, "dapple_" + name).argtypes = arguments
        _library = lib
    return _library


def _call(name, *arguments):
    error = _Error()
    status = getattr(_lib(), "dapple_" + name)(*arguments, byref(error))
    if status not in (OK, END):
        raise DappleError(status, error.message.decode(errors="replace"))
    return status


def version():
    return _lib().dapple_version().decode()


def plan_file(path, prompt_tokens, **options):
    """A Plan from the model file's header alone. options: SessionOptions."""
    plan = Plan()
    _call(
        "plan_file",
        byref(ModelOptions(path=path)),
        byref(SessionOptions(prompt_tokens=prompt_tokens, **options)),
        byref(plan),
    )
    return plan


class Model:
    """options: fields of ModelOptions."""

    def __init__(self, path, **options):
        self._handle = c_void_p()
        _call(
            "open",
            byref(ModelOptions(path=path, **options)),
            byref(self._handle),
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        _lib().dapple_close(self._handle)
        self._handle = c_void_p()

    def info(self):
        info = ModelInfo()
        _call("describe", self._handle, byref(info))
        return info.to_dict()

    def _ids(self, name, *arguments):
        count = c_size_t()
        _call(name, self._handle, *arguments, None, 0, byref(count))
        ids = (c_int32 * max(count.value, 1))()
        _call(name, self._handle, *arguments, ids, count.value, byref(count))
        return ids[: count.value]

    def encode(self, text, bos=True, parse_special=False):
        data = text.encode()
        flags = (ADD_BOS if bos else 0) | (PARSE_SPECIAL if parse_special else 0)
        return self._ids("encode", data, len(data), flags)

    def chat(self, user, **fields):
        """Token ids of one turn of the user. fields: of Chat."""
        return self._ids("encode_chat", byref(Chat(user=user, **fields)))

    def plan(self, prompt_tokens, **options):
        plan = Plan()
        wanted = SessionOptions(prompt_tokens=prompt_tokens, **options)
        _call("plan_session", self._handle, byref(wanted), byref(plan))
        return plan

    def session(self, prompt, progress=None, **options):
        """Reads the prompt (token ids). progress(done, total): true cancels."""
        return Session(self, prompt, progress, options)


class Session:
    def __init__(self, model, prompt, progress, options):
        self._handle = c_void_p()
        wanted = SessionOptions(prompt_tokens=len(prompt), **options)
        _call("session_new", model._handle, byref(wanted), byref(self._handle))
        hook = _Progress(
            lambda _, done, total: bool(progress and progress(done, total))
        )
        ids = (c_int32 * len(prompt))(*prompt)
        try:
            _call("prefill", self._handle, ids, len(prompt), hook, None)
        except DappleError:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        _lib().dapple_session_close(self._handle)
        self._handle = c_void_p()

    def sample(self, **fields):
        _call("sample", self._handle, byref(Sampling(**fields)))

    def quote(self, text, least=3, most=5):
        """The answer will be sentences of text."""
        data = text.encode()
        _call("quote", self._handle, data, len(data), least, most)

    def answer(self):
        """Yields the answer's text as it is written; with quote, sentences."""
        token = Token()
        status = OK
        while status == OK:
            status = _call("next", self._handle, byref(token))
            if token.bytes:
                yield token.string()

    def report(self):
        report = Report()
        _call("session_report", self._handle, byref(report))
        return report.to_dict()
