"""Why a detector learns nothing or slowly: what labels, windows, network and machine say of themselves."""
