/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The emulator's compensation against what it was not derived from: the worked example of the
 * BMP280 datasheet (BST-BMP280-DS001, 3.12) and the floating-point formulas of the BME280's
 * (BST-BME280-DS002, 8.1).
 */

#include <math.h>
#include <stdlib.h>

#include <zephyr/ztest.h>

#include "bme280_emul_internal.h"

ZTEST_SUITE(bme280_emul_compensation, NULL, NULL, NULL, NULL, NULL);

#define EXAMPLE_TEMPERATURE_CODE 519888
#define EXAMPLE_PRESSURE_CODE    415148

/* Section 8.1, in the same three steps; t is in 1/5120 degC. */

static double fine_temperature(double code)
{
	const struct bme280_emul_calibration *c = &bme280_emul_calibration;
	double offset = code / 131072.0 - c->t1 / 8192.0;

	return (code / 16384.0 - c->t1 / 1024.0) * c->t2 + offset * offset * c->t3;
}

static double pascal(double code, double t)
{
	const struct bme280_emul_calibration *c = &bme280_emul_calibration;
	double d = t / 2.0 - 64000.0;
	double offset = (d * d * c->p6 / 32768.0 + d * c->p5 * 2.0) / 4.0 + c->p4 * 65536.0;
	double gain = (c->p3 * d * d / 524288.0 + c->p2 * d) / 524288.0;
	double p = (1048576.0 - code - offset / 4096.0) * 6250.0 /
		   ((1.0 + gain / 32768.0) * c->p1);

	return p + (c->p9 * p * p / 2147483648.0 + p * c->p8 / 32768.0 + c->p7) / 16.0;
}

static double percent(double code, double t)
{
	const struct bme280_emul_calibration *c = &bme280_emul_calibration;
	double d = t - 76800.0;
	double h = (code - (c->h4 * 64.0 + c->h5 / 16384.0 * d)) *
		   (c->h2 / 65536.0 *
		    (1.0 + c->h6 / 67108864.0 * d * (1.0 + c->h3 / 67108864.0 * d)));

	h *= 1.0 - c->h1 * h / 524288.0;
	return CLAMP(h, 0.0, 100.0);
}

ZTEST(bme280_emul_compensation, test_the_datasheets_worked_example_comes_out)
{
	int32_t fine = bme280_emul_fine_temperature(EXAMPLE_TEMPERATURE_CODE);
	int64_t pressure_q8 = bme280_emul_pressure_q8(EXAMPLE_PRESSURE_CODE, fine);

	zassert_equal(fine, 128422);
	zassert_equal(bme280_emul_centi_celsius(fine), 2508);
	/* The example says 100653.27 Pa; the integers round down on the way. */
	zassert_within(pressure_q8 * 100 / 256, 10065327, 2, "%lld/256 Pa", (long long)pressure_q8);
	zassert_within(pascal(EXAMPLE_PRESSURE_CODE, fine_temperature(EXAMPLE_TEMPERATURE_CODE)),
		       100653.27, 0.01);
}

ZTEST(bme280_emul_compensation, test_the_example_backwards_gives_the_datasheets_codes)
{
	struct bme280_emul_sample sample = {2508, 5000, 10065327};
	struct bme280_emul_adc adc = bme280_emul_find_adc(&sample, 20, 20);

	/* 32 codes of temperature make 0.01 degC, and the pressure depends on which one it was. */
	zassert_within(adc.temperature, EXAMPLE_TEMPERATURE_CODE, 16, "%d", adc.temperature);
	zassert_within(adc.pressure, EXAMPLE_PRESSURE_CODE, 16, "%d", adc.pressure);
}

ZTEST(bme280_emul_compensation, test_the_codes_found_mean_what_was_set_by_the_float_formulas)
{
	double worst[3] = {0};

	for (int t = BME280_EMUL_CENTI_CELSIUS_MIN; t <= BME280_EMUL_CENTI_CELSIUS_MAX; t += 125) {
		for (int step = 0; step <= 100; step++) {
			struct bme280_emul_sample sample = {t, step * 100,
							    BME280_EMUL_CENTI_PASCAL_MIN +
								    step * 80000};
			struct bme280_emul_adc adc = bme280_emul_find_adc(&sample, 20, 20);
			/* Pressure and humidity start from the same temperature as the integers do: its
			 * last 0.003 degC, lost to rounding, are worth some tenths of a pascal.
			 */
			double fine = bme280_emul_fine_temperature(adc.temperature);
			double off[3] = {
				fabs(fine_temperature(adc.temperature) / 5120.0 - t / 100.0),
				fabs(percent(adc.humidity, fine) - step),
				fabs(pascal(adc.pressure, fine) - sample.centi_pascal / 100.0),
			};

			ARRAY_FOR_EACH(off, i) {
				worst[i] = MAX(worst[i], off[i]);
			}
			zassert_true(off[0] < 0.005, "%f degC off at %d/100", off[0], t);
			zassert_true(off[1] < 0.01, "%f %%RH off at %d/100 degC, %d %%RH", off[1], t,
				     step);
			zassert_true(off[2] < 0.12, "%f Pa off at %d/100 degC, %d/100 Pa", off[2], t,
				     sample.centi_pascal);
		}
	}
	TC_PRINT("largest differences: %f degC, %f %%RH, %f Pa\n", worst[0], worst[1], worst[2]);
}

ZTEST(bme280_emul_compensation, test_the_pressure_code_is_the_nearest_of_its_resolution)
{
	for (int bits = 16; bits <= 20; bits++) {
		int32_t step = 1 << (20 - bits);

		for (int p = BME280_EMUL_CENTI_PASCAL_MIN; p <= BME280_EMUL_CENTI_PASCAL_MAX;
		     p += 123457) {
			struct bme280_emul_sample sample = {2508, 5000, p};
			struct bme280_emul_adc adc = bme280_emul_find_adc(&sample, bits, bits);
			int32_t fine = bme280_emul_fine_temperature(adc.temperature);
			int64_t wanted = p * 256LL / 100;
			int64_t off = llabs(bme280_emul_pressure_q8(adc.pressure, fine) - wanted);

			zassert_equal(adc.temperature % step, 0);
			zassert_equal(adc.pressure % step, 0);
			/* One more for the rounding of the wanted value. */
			zassert_true(off <= llabs(bme280_emul_pressure_q8(adc.pressure - step, fine) -
						  wanted) + 1);
			zassert_true(off <= llabs(bme280_emul_pressure_q8(adc.pressure + step, fine) -
						  wanted) + 1);
		}
	}
}
