/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The unmodified BME280 driver reads from the emulator what was set: over the whole range, at its
 * ends, through the sensor emulator backend and while it drifts.
 */

#include <zephyr/drivers/emul_sensor.h>
#include <zephyr/random/random.h>
#include <zephyr/ztest.h>

#include "fixture.h"

#define RANDOM_COMBINATIONS 5000

static const struct device *const sensor = DRIVER(bme280);
static const struct emul *const chip = CHIP(bme280);

/* What the driver read before any test ran, and 75 s later. */
static struct reading boot_reading, later_reading;

/* Largest deviations seen, in millionths. */
static struct reading largest;

void wait_for_measurement(void)
{
	/* The longest cycle of the configurations in testcase.yaml: 1 s standby, 70 ms measuring. */
	if (IS_ENABLED(CONFIG_BME280_MODE_NORMAL)) {
		k_sleep(IS_ENABLED(CONFIG_BME280_STANDBY_62MS) ? K_MSEC(100) : K_MSEC(1100));
	}
}

int read_sensor(const struct device *dev, struct reading *reading)
{
	struct sensor_value temperature, humidity, pressure;
	int ret = sensor_sample_fetch(dev);

	if (ret != 0) {
		return ret;
	}
	ret = sensor_channel_get(dev, SENSOR_CHAN_AMBIENT_TEMP, &temperature);
	zassert_ok(ret);
	ret = sensor_channel_get(dev, SENSOR_CHAN_HUMIDITY, &humidity);
	zassert_ok(ret);
	ret = sensor_channel_get(dev, SENSOR_CHAN_PRESS, &pressure);
	zassert_ok(ret);

	reading->temperature = sensor_value_to_micro(&temperature);
	reading->humidity = sensor_value_to_micro(&humidity);
	/* From kPa. */
	reading->pressure = sensor_value_to_micro(&pressure) * 1000;
	return 0;
}

static bool matches(const struct bme280_emul_sample *set, const struct reading *read)
{
	int64_t temperature = llabs(read->temperature - set->centi_celsius * 10000LL);
	int64_t humidity = llabs(read->humidity - set->centi_percent * 10000LL);
	int64_t pressure = llabs(read->pressure - set->centi_pascal * 10000LL);

	largest.temperature = MAX(largest.temperature, temperature);
	largest.humidity = MAX(largest.humidity, humidity);
	largest.pressure = MAX(largest.pressure, pressure);

	if (temperature == 0 && humidity <= HUMIDITY_TOLERANCE && pressure <= PRESSURE_TOLERANCE) {
		return true;
	}
	TC_PRINT("set %d/100 degC, %d/100 %%RH, %d/100 Pa; read %lld, %lld, %lld (millionths)\n",
		 set->centi_celsius, set->centi_percent, set->centi_pascal,
		 (long long)read->temperature, (long long)read->humidity,
		 (long long)read->pressure);
	return false;
}

bool reads_back(int32_t centi_celsius, int32_t centi_percent, int32_t centi_pascal)
{
	struct bme280_emul_sample sample = {
		.centi_celsius = centi_celsius,
		.centi_percent = centi_percent,
		.centi_pascal = centi_pascal,
	};
	struct reading reading;

	zassert_ok(bme280_emul_set_sample(chip, &sample));
	wait_for_measurement();
	zassert_ok(read_sensor(sensor, &reading));
	return matches(&sample, &reading);
}

static void *read_what_the_boot_left(void)
{
	wait_for_measurement();
	zassert_ok(read_sensor(sensor, &boot_reading));
	k_sleep(K_SECONDS(75));
	zassert_ok(read_sensor(sensor, &later_reading));
	return NULL;
}

static void mend(void *fixture)
{
	static const struct bme280_emul_sample usual = {2500, 5000, 10132500};

	ARG_UNUSED(fixture);

	zassert_ok(bme280_emul_set_fault(chip, BME280_EMUL_FAULT_NONE));
	zassert_ok(bme280_emul_set_drift(chip, false));
	zassert_ok(bme280_emul_set_sample(chip, &usual));
	largest = (struct reading){0};
}

static void report_deviation(void *fixture)
{
	ARG_UNUSED(fixture);

	if (largest.humidity != 0 || largest.pressure != 0) {
		TC_PRINT("largest deviation: %lld udegC, %lld u%%RH, %lld uPa\n",
			 (long long)largest.temperature, (long long)largest.humidity,
			 (long long)largest.pressure);
	}
}

ZTEST_SUITE(bme280_emul, NULL, read_what_the_boot_left, mend, report_deviation, NULL);

/* Read by pytest/test_command_line.py, which knows what was asked for. */
ZTEST(bme280_emul, test_the_boot_values_are_within_the_range)
{
	TC_PRINT("boot reading: %lld udegC %lld u%%RH %lld uPa\n",
		 (long long)boot_reading.temperature, (long long)boot_reading.humidity,
		 (long long)boot_reading.pressure);
	TC_PRINT("75 s later: %lld udegC %lld u%%RH %lld uPa\n",
		 (long long)later_reading.temperature, (long long)later_reading.humidity,
		 (long long)later_reading.pressure);
	zassert_between_inclusive(boot_reading.temperature, -40000000, 85000000);
	zassert_between_inclusive(boot_reading.humidity, 0, 100000000);
	zassert_between_inclusive(boot_reading.pressure, 30000000000 - PRESSURE_TOLERANCE,
				  110000000000 + PRESSURE_TOLERANCE);
}

ZTEST(bme280_emul, test_every_hundredth_of_a_degree_is_read_back)
{
	for (int t = BME280_EMUL_CENTI_CELSIUS_MIN; t <= BME280_EMUL_CENTI_CELSIUS_MAX; t++) {
		zassert_true(reads_back(t, 5000, 10132500));
	}
}

ZTEST(bme280_emul, test_every_hundredth_of_a_percent_is_read_back)
{
	for (int h = BME280_EMUL_CENTI_PERCENT_MIN; h <= BME280_EMUL_CENTI_PERCENT_MAX; h++) {
		zassert_true(reads_back(2500, h, 10132500));
	}
}

ZTEST(bme280_emul, test_every_tenth_pascal_is_read_back)
{
	for (int p = BME280_EMUL_CENTI_PASCAL_MIN; p <= BME280_EMUL_CENTI_PASCAL_MAX; p += 1000) {
		zassert_true(reads_back(2500, 5000, p));
	}
}

ZTEST(bme280_emul, test_a_grid_over_all_three_ranges_is_read_back)
{
	for (int t = BME280_EMUL_CENTI_CELSIUS_MIN; t <= BME280_EMUL_CENTI_CELSIUS_MAX; t += 500) {
		for (int h = BME280_EMUL_CENTI_PERCENT_MIN; h <= BME280_EMUL_CENTI_PERCENT_MAX;
		     h += 1000) {
			for (int p = BME280_EMUL_CENTI_PASCAL_MIN;
			     p <= BME280_EMUL_CENTI_PASCAL_MAX; p += 500000) {
				zassert_true(reads_back(t, h, p));
			}
		}
	}
}

ZTEST(bme280_emul, test_random_combinations_are_read_back)
{
	/* Another one with --seed=<number> or --seed-random on the command line. */
	uint32_t seed = sys_rand32_get();
	uint64_t state = seed;

	TC_PRINT("seed 0x%08x\n", seed);
	for (int i = 0; i < RANDOM_COMBINATIONS; i++) {
		uint32_t draw[3];

		ARRAY_FOR_EACH(draw, j) {
			/* Knuth's MMIX generator; its upper half is the random one. */
			state = state * 6364136223846793005ULL + 1442695040888963407ULL;
			draw[j] = (uint32_t)(state >> 32);
		}
		zassert_true(reads_back(BME280_EMUL_CENTI_CELSIUS_MIN + (int)(draw[0] % 12501),
					(int)(draw[1] % 10001),
					BME280_EMUL_CENTI_PASCAL_MIN + (int)(draw[2] % 8000001)),
			     "combination %d of seed 0x%08x", i, seed);
	}
}

ZTEST(bme280_emul, test_the_corners_of_the_range_are_read_back)
{
	struct reading reading;

	for (int corner = 0; corner < 8; corner++) {
		zassert_true(reads_back(
			(corner & 1) ? BME280_EMUL_CENTI_CELSIUS_MAX : BME280_EMUL_CENTI_CELSIUS_MIN,
			(corner & 2) ? BME280_EMUL_CENTI_PERCENT_MAX : BME280_EMUL_CENTI_PERCENT_MIN,
			(corner & 4) ? BME280_EMUL_CENTI_PASCAL_MAX : BME280_EMUL_CENTI_PASCAL_MIN));

		/* No more and no less than physically possible. */
		zassert_ok(sensor_sample_fetch(sensor));
		zassert_ok(read_sensor(sensor, &reading));
		zassert_equal(reading.humidity, (corner & 2) ? 100000000 : 0);
	}
}

ZTEST(bme280_emul, test_values_out_of_range_are_refused_and_change_nothing)
{
	static const struct bme280_emul_sample refused[] = {
		{BME280_EMUL_CENTI_CELSIUS_MIN - 1, 5000, 10132500},
		{BME280_EMUL_CENTI_CELSIUS_MAX + 1, 5000, 10132500},
		{2500, BME280_EMUL_CENTI_PERCENT_MIN - 1, 10132500},
		{2500, BME280_EMUL_CENTI_PERCENT_MAX + 1, 10132500},
		{2500, 5000, BME280_EMUL_CENTI_PASCAL_MIN - 1},
		{2500, 5000, BME280_EMUL_CENTI_PASCAL_MAX + 1},
		{INT32_MIN, INT32_MAX, INT32_MIN},
	};
	struct bme280_emul_sample before = {1234, 4321, 9876543};
	struct reading reading;

	zassert_ok(bme280_emul_set_sample(chip, &before));
	ARRAY_FOR_EACH(refused, i) {
		zassert_equal(bme280_emul_set_sample(chip, &refused[i]), -ERANGE, "no. %zu", i);
	}
	wait_for_measurement();
	zassert_ok(read_sensor(sensor, &reading));
	zassert_true(matches(&before, &reading));
}

ZTEST(bme280_emul, test_only_a_bme280_emulator_is_accepted)
{
	struct emul other = {.data = chip->data};
	struct bme280_emul_sample sample = {2500, 5000, 10132500};

	zassert_equal(bme280_emul_set_sample(NULL, &sample), -EINVAL);
	zassert_equal(bme280_emul_set_sample(&other, &sample), -EINVAL);
	zassert_equal(bme280_emul_set_sample(chip, NULL), -EINVAL);
	zassert_equal(bme280_emul_set_fault(NULL, BME280_EMUL_FAULT_NONE), -EINVAL);
	zassert_equal(bme280_emul_set_fault(chip, (enum bme280_emul_fault)-1), -EINVAL);
	zassert_equal(bme280_emul_set_fault(chip, (enum bme280_emul_fault)4), -EINVAL);
	zassert_equal(bme280_emul_set_drift(&other, true), -EINVAL);
}

static struct sensor_chan_spec channel(enum sensor_channel type)
{
	return (struct sensor_chan_spec){.chan_type = type, .chan_idx = 0};
}

ZTEST(bme280_emul, test_the_backend_range_is_settable_and_read_back)
{
	static const enum sensor_channel channels[] = {
		SENSOR_CHAN_AMBIENT_TEMP, SENSOR_CHAN_HUMIDITY, SENSOR_CHAN_PRESS};
	static const int64_t expected[][2] = {
		{-40000000, 85000000}, {0, 100000000}, {30000000, 110000000}};

	zassert_true(emul_sensor_backend_is_supported(chip));
	ARRAY_FOR_EACH(channels, i) {
		q31_t lower, upper, epsilon;
		int8_t shift;

		zassert_ok(emul_sensor_backend_get_sample_range(chip, channel(channels[i]), &lower,
								&upper, &epsilon, &shift));
		for (int step = 0; step <= 16; step++) {
			q31_t value = (q31_t)(lower + ((int64_t)upper - lower) * step / 16);
			int64_t set = value * 1000000LL / (1LL << (31 - shift));
			int64_t tolerance = epsilon * 1000000LL / (1LL << (31 - shift)) + 1;
			struct sensor_value read;

			zassert_ok(emul_sensor_backend_set_channel(chip, channel(channels[i]),
								   &value, shift));
			wait_for_measurement();
			zassert_ok(sensor_sample_fetch(sensor));
			zassert_ok(sensor_channel_get(sensor, channels[i], &read));
			zassert_within(sensor_value_to_micro(&read), set, tolerance,
				       "channel %d, step %d", channels[i], step);
		}
		zassert_within(lower * 1000000LL / (1LL << (31 - shift)), expected[i][0], 1);
		zassert_within(upper * 1000000LL / (1LL << (31 - shift)), expected[i][1], 1);
	}
}

ZTEST(bme280_emul, test_setting_one_channel_leaves_the_others)
{
	struct bme280_emul_sample before = {1234, 4321, 9876543};
	struct bme280_emul_sample after = {1234, 6250, 9876543};
	/* 62.5 = 125 / 2. */
	q31_t value = 125;
	struct reading reading;

	zassert_ok(bme280_emul_set_sample(chip, &before));
	zassert_ok(emul_sensor_backend_set_channel(chip, channel(SENSOR_CHAN_HUMIDITY), &value, 30));
	wait_for_measurement();
	zassert_ok(read_sensor(sensor, &reading));
	zassert_true(matches(&after, &reading));
}

ZTEST(bme280_emul, test_the_backend_refuses_by_name)
{
	struct sensor_chan_spec second = {.chan_type = SENSOR_CHAN_HUMIDITY, .chan_idx = 1};
	q31_t one = 0x40000000; /* With shift 1. */
	q31_t value;
	int8_t shift;

	zassert_equal(emul_sensor_backend_set_channel(chip, channel(SENSOR_CHAN_LIGHT), &one, 1),
		      -ENOTSUP);
	zassert_equal(emul_sensor_backend_set_channel(chip, channel(SENSOR_CHAN_ALL), &one, 1),
		      -ENOTSUP);
	zassert_equal(emul_sensor_backend_set_channel(chip, second, &one, 1), -ENOTSUP);
	zassert_equal(emul_sensor_backend_get_sample_range(chip, second, &value, &value, &value,
							   &shift), -ENOTSUP);
	zassert_equal(emul_sensor_backend_get_sample_range(chip, channel(SENSOR_CHAN_PRESS), NULL,
							   &value, &value, &shift), -EINVAL);
	zassert_equal(emul_sensor_backend_set_channel(chip, channel(SENSOR_CHAN_HUMIDITY), NULL, 1),
		      -EINVAL);
	zassert_equal(emul_sensor_backend_set_channel(chip, channel(SENSOR_CHAN_HUMIDITY), &one, 32),
		      -EINVAL);
	zassert_equal(emul_sensor_backend_set_channel(chip, channel(SENSOR_CHAN_HUMIDITY), &one,
						      -32), -EINVAL);
	/* 1 kPa, 128 %RH, 2^30 degC, -64 degC. */
	zassert_equal(emul_sensor_backend_set_channel(chip, channel(SENSOR_CHAN_PRESS), &one, 1),
		      -ERANGE);
	zassert_equal(emul_sensor_backend_set_channel(chip, channel(SENSOR_CHAN_HUMIDITY), &one, 8),
		      -ERANGE);
	zassert_equal(emul_sensor_backend_set_channel(chip, channel(SENSOR_CHAN_AMBIENT_TEMP), &one,
						      31), -ERANGE);
	value = INT32_MIN;
	zassert_equal(emul_sensor_backend_set_channel(chip, channel(SENSOR_CHAN_AMBIENT_TEMP),
						      &value, 6), -ERANGE);
}

ZTEST(bme280_emul, test_nothing_moves_until_drift_is_switched_on)
{
	struct bme280_emul_sample set = {2500, 5000, 10132500};
	struct reading first, later;

	zassert_ok(bme280_emul_set_sample(chip, &set));
	wait_for_measurement();
	zassert_ok(read_sensor(sensor, &first));
	k_sleep(K_SECONDS(75));
	zassert_ok(read_sensor(sensor, &later));
	zassert_mem_equal(&first, &later, sizeof(first));

	/* A quarter of temperature's 300 s: at its highest. */
	zassert_ok(bme280_emul_set_drift(chip, true));
	k_sleep(K_SECONDS(75));
	wait_for_measurement();
	zassert_ok(read_sensor(sensor, &later));
	zassert_within(later.temperature - first.temperature, 500000, 20000);
	/* 75 of 105 s up to 2 %RH, 75 of 165 s up to 50 Pa. */
	zassert_within(later.humidity - first.humidity, 1428571, 50000);
	zassert_within(later.pressure - first.pressure, 22727272, 600000 + 2 * PRESSURE_TOLERANCE);

	/* At three quarters: at its lowest. */
	k_sleep(K_SECONDS(150));
	zassert_ok(read_sensor(sensor, &later));
	zassert_within(later.temperature - first.temperature, -500000, 20000);

	zassert_ok(bme280_emul_set_drift(chip, false));
	wait_for_measurement();
	zassert_ok(read_sensor(sensor, &later));
	zassert_mem_equal(&first, &later, sizeof(first));
}

ZTEST(bme280_emul, test_drift_stays_within_the_range)
{
	struct bme280_emul_sample set = {BME280_EMUL_CENTI_CELSIUS_MAX,
					 BME280_EMUL_CENTI_PERCENT_MAX,
					 BME280_EMUL_CENTI_PASCAL_MAX};
	struct reading reading;

	zassert_ok(bme280_emul_set_sample(chip, &set));
	zassert_ok(bme280_emul_set_drift(chip, true));
	k_sleep(K_SECONDS(75));
	zassert_ok(read_sensor(sensor, &reading));
	zassert_true(matches(&set, &reading));
}
