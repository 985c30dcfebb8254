# Nothing is in the image but what a release may have.
set_config_bool(${ZCMAKE_APPLICATION} CONFIG_SENSOR_RELEASE y)
