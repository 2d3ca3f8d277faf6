"""What is done to attention: a change is one file of maths. Nothing of gifine is imported here."""
