"""`Text`: what people read, in Vietnamese first and English beside it."""

from __future__ import annotations

import unicodedata

from pydantic import BaseModel, ConfigDict, field_validator


class Text(BaseModel):
    """One phrase in both languages, NFC-normalised."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    vi: str
    en: str

    @field_validator("vi", "en")
    @classmethod
    def _nfc(cls, text: str) -> str:
        if not text.strip():
            raise ValueError("must not be empty")
        return unicodedata.normalize("NFC", text)
