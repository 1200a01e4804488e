"""npuq's targets, one TOML file each, and the page that describes them."""
