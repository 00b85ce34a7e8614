"""What was set up so that it cannot work: a setting, a package that is missing, an option that was left out."""

from segsearch.core.errors.base import SegsearchError


class ConfigError(SegsearchError):
    """A setting that cannot work: names the field, what came and what was wanted."""

    code = "bad-config"

    def __init__(self, field: str, found: object, wanted: str):
        super().__init__(f"{field} is {found!r}, wanted {wanted}")
        self.field, self.found, self.wanted = field, found, wanted

    @classmethod
    def check_range(cls, field: str, value: int, lowest: int, highest: int) -> None:
        """Raises unless `value` lies between the two, both included."""
        if not lowest <= value <= highest:
            raise cls(field, value, f"{lowest} to {highest}")


class MissingExtra(SegsearchError):
    """A command whose packages are not installed."""

    code = "missing-extra"

    def __init__(self, command: str, extra: str, module: str):
        super().__init__(f"`segsearch {command}` needs {module}: pip install 'segsearch[{extra}]'")
        self.command, self.extra, self.module = command, extra, module


class NotConfigured(SegsearchError):
    """A request for what the operator has not switched on."""

    code = "not-configured"

    def __init__(self, option: str):
        super().__init__(f"this server was started without --{option}; wanted it to do this")
        self.option = option
