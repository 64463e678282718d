"""The rooms of `archc chat`: the conversation, its commands, its answers, and the reading of lines."""
