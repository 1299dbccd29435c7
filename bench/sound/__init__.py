"""What a signal is: files, masking, codecs, piano rolls and their sound. Knows nothing of trials."""
