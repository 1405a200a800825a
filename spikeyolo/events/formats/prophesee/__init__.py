"""Prophesee's formats: DAT, RAW with the words of EVT 2.0 to 4.0, and the ECF codec of its HDF5 files."""
