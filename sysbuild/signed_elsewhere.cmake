# No key that signs, and none is asked for. The firmware verifies candidates with the public half.
set_config_string(${ZCMAKE_APPLICATION} CONFIG_MCUBOOT_SIGNATURE_KEY_FILE "")
set_config_bool(${ZCMAKE_APPLICATION} CONFIG_MCUBOOT_GENERATE_UNSIGNED_IMAGE n)
if(SENSOR_IMAGE_VERIFIES_CANDIDATES)
  set_config_string(${ZCMAKE_APPLICATION} CONFIG_SENSOR_IMAGE_KEY_FILE "${SB_CONFIG_BOOT_SIGNATURE_KEY_FILE}")
endif()
