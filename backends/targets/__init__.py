"""The targets that come with npuq, one TOML file each, and the page that describes them."""
