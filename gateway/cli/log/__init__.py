"""``heliograph log``: one module a command or two that share their reading; `group` lists them all."""
