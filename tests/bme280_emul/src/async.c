/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The driver's other way, sensor_read() and its decoder, reads the same values from the emulator.
 */

#include <zephyr/drivers/sensor.h>
#include <zephyr/rtio/rtio.h>
#include <zephyr/ztest.h>

#include "fixture.h"

SENSOR_DT_READ_IODEV(bme280_iodev, DT_NODELABEL(bme280), {SENSOR_CHAN_AMBIENT_TEMP, 0},
		     {SENSOR_CHAN_HUMIDITY, 0}, {SENSOR_CHAN_PRESS, 0});
/* Two, because the first is still in use when its completion is reported. */
RTIO_DEFINE(bme280_rtio, 2, 2);

/** A channel of the frame in @p buffer, in millionths. */
static int64_t decode(const uint8_t *buffer, enum sensor_channel type)
{
	const struct sensor_decoder_api *decoder;
	struct sensor_chan_spec channel = {.chan_type = type, .chan_idx = 0};
	struct sensor_q31_data data;
	uint32_t frame = 0;

	zassert_ok(sensor_get_decoder(DRIVER(bme280), &decoder));
	zassert_equal(decoder->decode(buffer, channel, &frame, 1, &data), 1);
	return data.readings[0].value * 1000000LL / (1LL << (31 - data.shift));
}

ZTEST(bme280_emul, test_the_asynchronous_reading_is_what_was_set)
{
	static const struct bme280_emul_sample samples[] = {
		{-4000, 0, 3000000}, {-1, 1, 9876543}, {8500, 10000, 11000000}};
	uint8_t buffer[64];

	ARRAY_FOR_EACH(samples, i) {
		zassert_ok(bme280_emul_set_sample(CHIP(bme280), &samples[i]));
		wait_for_measurement();
		zassert_ok(sensor_read(&bme280_iodev, &bme280_rtio, buffer, sizeof(buffer)));

		/* The decoder's fixed point resolves 31 udegC and 1/256 kPa. */
		zassert_within(decode(buffer, SENSOR_CHAN_AMBIENT_TEMP),
			       samples[i].centi_celsius * 10000LL, 32);
		zassert_within(decode(buffer, SENSOR_CHAN_HUMIDITY),
			       samples[i].centi_percent * 10000LL, HUMIDITY_TOLERANCE);
		zassert_within(decode(buffer, SENSOR_CHAN_PRESS), samples[i].centi_pascal * 10LL,
			       3907 + PRESSURE_TOLERANCE / 1000);
	}
}

ZTEST(bme280_emul, test_the_asynchronous_reading_reports_a_silent_chip)
{
	uint8_t buffer[64];

	zassert_ok(bme280_emul_set_fault(CHIP(bme280), BME280_EMUL_FAULT_NO_ANSWER));
	zassert_equal(sensor_read(&bme280_iodev, &bme280_rtio, buffer, sizeof(buffer)), -EIO);
}
