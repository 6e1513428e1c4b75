"""`mimic-operator check`: reads an installation or one pod, and says what is wrong with it and what to do."""
