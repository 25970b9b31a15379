"""Read DICOM images, and write what is segmented in them as DICOM (extra ``medical``)."""
