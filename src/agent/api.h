/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* api: what lamina-agent answers: lamina-agent-api(7). */
#ifndef LAMINA_AGENT_API_H
#define LAMINA_AGENT_API_H

#include "src/agent/follow.h"
#include "src/agent/freeze.h"
#include "src/agent/front.h"
#include "src/agent/job.h"

#define API_NUMBER 1	/* of GET /version; it grows when what was promised changes */

/* What the handlers get. */
struct api {
	struct front *front;
	struct freeze *freeze;
	struct jobs *jobs;
	struct follow *follow;
};

extern const struct httpd_route api_routes[];

#endif
