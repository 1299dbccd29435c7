"""What a signal is: files, masking, codecs, filters, spectra. Knows nothing of trials."""
