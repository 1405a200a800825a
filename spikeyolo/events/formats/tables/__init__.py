"""Events as columns: HDF5 and text, whatever the columns are called and the unit of time is."""
