"""Chat templates: a prompt within a conversation, in the words that the tokenizer's own template puts around it.

A prompt is a text that the answer goes on with. In the `assistant` form it is how the model's turn begins, after a user's
request for a sentence: then the answer follows it as it does in plain text. In the `user` form it is what the user says,
and the answer is how the reply begins: for questions, and for models that answer without going round.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, final

from edgewise.errors import PairsError

REQUEST = "Write a sentence."

# Some templates tell the model today's date; a circuit found today must be found tomorrow.
DATE = "{%- macro strftime_now(format) -%}01 Jan 2025{%- endmacro -%}"


class Conversation(ABC):
    """Prompts in the template of a tokenizer; PairsError if it has none."""

    def __init__(self, tokenizer: Any) -> None:
        if not getattr(tokenizer, "chat_template", None):
            raise PairsError(
                "this tokenizer has no chat template: leave chat_template at 'none', or use a model that was trained to chat"
            )
        self.tokenizer = tokenizer
        template = tokenizer.get_chat_template()
        self._template = DATE + template if "strftime_now" in template else template
        self._lead = self._before_a_reply()

    @abstractmethod
    def prompt(self, text: str) -> str:
        """The conversation up to where the answer is read."""

    @abstractmethod
    def answer(self, answer: str) -> str:
        """The answer as it goes on from there."""

    def begun(self, message: str) -> str:
        """The conversation in which the user has said `message` and the model's turn begins."""
        return self._render([{"role": "user", "content": message}], more=True)

    def _before_a_reply(self) -> str:
        """The white space that the template puts between where a turn begins and its text, as some do after `[/INST]`."""
        turns = [{"role": "user", "content": REQUEST}, {"role": "assistant", "content": "MARK"}]
        begun, whole = self.begun(REQUEST), self._render(turns, more=False)
        between = whole.removeprefix(begun).partition("MARK")[0] if whole.startswith(begun) else ""
        return between if between.isspace() else ""

    def _render(self, messages: list[dict[str, str]], *, more: bool) -> str:
        how = {"chat_template": self._template, "tokenize": False, "add_generation_prompt": more}
        try:
            # Models that can think aloud first are asked not to: what is read is the answer.
            return str(self.tokenizer.apply_chat_template(messages, enable_thinking=False, **how))
        except Exception as error:  # a template is a program, and refuses in its own way
            raise PairsError(f"the tokenizer's chat template cannot be filled in: {error!s:.120}") from None


@final
class AssistantTurn(Conversation):
    """The prompt is how the model's turn begins; the answer goes on with it."""

    def prompt(self, text: str) -> str:
        return self.begun(REQUEST) + self._lead + text

    def answer(self, answer: str) -> str:
        return answer


@final
class UserTurn(Conversation):
    """The prompt is what the user says; the answer begins the reply, with the template's white space for its own."""

    def prompt(self, text: str) -> str:
        return self.begun(text)

    def answer(self, answer: str) -> str:
        return self._lead + answer.lstrip(" ")


FORMS: dict[str, type[Conversation]] = {"assistant": AssistantTurn, "user": UserTurn}
