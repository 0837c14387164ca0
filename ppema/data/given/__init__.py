"""Sources of inputs without targets: archives, tables, arrays and data sets, as `data.inputs.InputSource`."""
