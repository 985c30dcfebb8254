/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * What the tests of the BME280 emulator share: the emulated chips and how they are read.
 */
#ifndef BME280_EMUL_TEST_FIXTURE_H_
#define BME280_EMUL_TEST_FIXTURE_H_

#include <zephyr/drivers/emul.h>
#include <zephyr/drivers/sensor.h>
#include <zephyr/kernel.h>

#include <sensor_device/bme280_emul.h>

#define CHIP(label) EMUL_DT_GET(DT_NODELABEL(label))
#define DRIVER(label) DEVICE_DT_GET(DT_NODELABEL(label))

/* Largest deviation of a reading, in millionths of %RH and Pa: half a step of the ADC code, and what
 * rounding adds.
 */
#define HUMIDITY_TOLERANCE 7500
#if defined(CONFIG_BME280_FILTER_OFF)
#define PRESSURE_TOLERANCE 1700000
#else
#define PRESSURE_TOLERANCE 120000
#endif

/** A reading in millionths of degC, %RH and Pa. */
struct reading {
	int64_t temperature;
	int64_t humidity;
	int64_t pressure;
};

/** Wait until the chip has measured anew, where it does so by itself. */
void wait_for_measurement(void);

/** Fetch and get all channels through the driver. */
int read_sensor(const struct device *dev, struct reading *reading);

/** Set, wait, read and compare; true if the driver read what was set. */
bool reads_back(int32_t centi_celsius, int32_t centi_percent, int32_t centi_pascal);

#endif /* BME280_EMUL_TEST_FIXTURE_H_ */
