"""The commands: one file a group. They parse words, call the other rooms and print."""
