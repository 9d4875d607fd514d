"""Checks of pairs and objectives: the rules that machinery relies on, as plain functions for anybody's test suite.

``check_pair(pair, batch)`` and ``check_objective(objective)`` judge all rules and report. Each rule alone is a
function ``check_<rule>`` that raises :class:`CheckFailed` when it is broken and :class:`NotApplicable` when it says
nothing here; ``PAIR_CHECKS`` and ``OBJECTIVE_CHECKS`` hold them by name, for ``pytest.mark.parametrize``.
"""

from ppgen.testing.checks import (
    OBJECTIVE_CHECKS,
    PAIR_CHECKS,
    Check,
    CheckFailed,
    NotApplicable,
    objective_check,
    pair_check,
)
from ppgen.testing.contract import (
    check_log_weights,
    check_runs,
    check_same_seed,
    check_shapes_fit_plates,
    check_sites_match,
    check_structure_is_fixed,
    check_support,
)
from ppgen.testing.gradients import check_gradients, check_no_hidden_parameters, check_subsampling_scale
from ppgen.testing.in_turn import (
    check_draws_in_turn,
    check_entropy_of_draws,
    check_reads_earlier_features,
    check_unread_observations,
)
from ppgen.testing.independence import check_batch_independence, check_batch_sizes, check_particle_independence
from ppgen.testing.learning import check_loss_falls, check_stock_svi
from ppgen.testing.objective_contract import (
    check_at_a_step,
    check_frozen,
    check_losses_agree,
    check_min_particles,
    check_pure,
    check_registered,
)
from ppgen.testing.objective_truth import (
    check_bound,
    check_reparameterization,
    check_scale_outside,
    check_traceable,
    check_unbiased_gradient,
)
from ppgen.testing.objective_use import check_global_latents, check_stock_svi_takes_it
from ppgen.testing.report import Report, Result, check_objective, check_pair
from ppgen.testing.reproduction import check_compiled_step, check_precisions, check_round_trip
from ppgen.testing.samples import check_posterior_samples, check_prior_samples

__all__ = [
    "OBJECTIVE_CHECKS",
    "PAIR_CHECKS",
    "Check",
    "CheckFailed",
    "NotApplicable",
    "Report",
    "Result",
    "check_at_a_step",
    "check_batch_independence",
    "check_batch_sizes",
    "check_bound",
    "check_compiled_step",
    "check_draws_in_turn",
    "check_entropy_of_draws",
    "check_frozen",
    "check_global_latents",
    "check_gradients",
    "check_log_weights",
    "check_loss_falls",
    "check_losses_agree",
    "check_min_particles",
    "check_no_hidden_parameters",
    "check_objective",
    "check_pair",
    "check_particle_independence",
    "check_posterior_samples",
    "check_precisions",
    "check_prior_samples",
    "check_pure",
    "check_reads_earlier_features",
    "check_registered",
    "check_reparameterization",
    "check_round_trip",
    "check_runs",
    "check_same_seed",
    "check_scale_outside",
    "check_shapes_fit_plates",
    "check_sites_match",
    "check_stock_svi",
    "check_stock_svi_takes_it",
    "check_structure_is_fixed",
    "check_subsampling_scale",
    "check_support",
    "check_traceable",
    "check_unbiased_gradient",
    "check_unread_observations",
    "objective_check",
    "pair_check",
]
