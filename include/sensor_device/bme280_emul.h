/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * What a test may do to an emulated BME280: set the physical values around it, let them drift,
 * and break it. It owns no measurement: that is the unmodified sensor driver's part.
 * Serves R-BOARDS (native_sim measures), R-FW-HEALTH (a device whose sensor does not answer).
 */
#ifndef SENSOR_DEVICE_BME280_EMUL_H_
#define SENSOR_DEVICE_BME280_EMUL_H_

#include <stdbool.h>
#include <stdint.h>

#include <zephyr/drivers/emul.h>

#ifdef __cplusplus
extern "C" {
#endif

/** @name Operating range (datasheet tables 1 to 3), in the units of @ref bme280_emul_sample
 * @{
 */
#define BME280_EMUL_CENTI_CELSIUS_MIN (-4000)
#define BME280_EMUL_CENTI_CELSIUS_MAX 8500
#define BME280_EMUL_CENTI_PERCENT_MIN 0
#define BME280_EMUL_CENTI_PERCENT_MAX 10000
#define BME280_EMUL_CENTI_PASCAL_MIN  3000000
#define BME280_EMUL_CENTI_PASCAL_MAX  11000000
/** @} */

/** Physical values around the sensor, each in hundredths of its unit. */
struct bme280_emul_sample {
	/** Temperature in 0.01 degC, -40.00 to 85.00. */
	int32_t centi_celsius;
	/** Relative humidity in 0.01 %RH, 0.00 to 100.00. */
	int32_t centi_percent;
	/** Pressure in 0.01 Pa, 30000.00 to 110000.00. */
	int32_t centi_pascal;
};

/** What is wrong with the sensor. */
enum bme280_emul_fault {
	/** Nothing: it answers and measures. */
	BME280_EMUL_FAULT_NONE,
	/** Every transfer fails with -EIO; the chip itself goes on measuring. */
	BME280_EMUL_FAULT_NO_ANSWER,
	/** The identification register reads 0x55, which is no BME280 and no BMP280. */
	BME280_EMUL_FAULT_BAD_ID,
	/** The status register says "measuring" for ever and no measurement ends. */
	BME280_EMUL_FAULT_STUCK_BUSY,
};

/**
 * @brief Set all three physical values.
 *
 * A measurement that ends from now on sees them; the data registers keep what was measured before.
 *
 * @retval 0 The values are set.
 * @retval -ERANGE One is outside the operating range; none was changed.
 * @retval -EINVAL @p target is no BME280 emulator, or @p sample is NULL.
 */
int bme280_emul_set_sample(const struct emul *target, const struct bme280_emul_sample *sample);

/**
 * @brief Break the sensor, or mend it with BME280_EMUL_FAULT_NONE. Registers are kept.
 *
 * @retval 0 The fault is set.
 * @retval -EINVAL @p target is no BME280 emulator, or @p fault is unknown.
 */
int bme280_emul_set_fault(const struct emul *target, enum bme280_emul_fault fault);

/**
 * @brief Let the physical values wander slowly around the set ones, or hold them still (default).
 *
 * Triangle waves from the moment of switching on, the same in every run: +-0.50 degC in 300 s,
 * +-2.00 %RH in 420 s, +-50 Pa in 660 s, held inside the operating range.
 *
 * @retval 0 Done.
 * @retval -EINVAL @p target is no BME280 emulator.
 */
int bme280_emul_set_drift(const struct emul *target, bool on);

#ifdef __cplusplus
}
#endif

#endif /* SENSOR_DEVICE_BME280_EMUL_H_ */
