"""The commands of `mimic-operator`: arguments, output, exit codes."""
