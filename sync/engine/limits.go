package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/oktasync/oktasync/state"
	"github.com/oktasync/oktasync/sync/okta"
)

// limitsEvery is how often what is known of the rate limits is kept for every
// process to show: the limiter itself is in the owner's.
const limitsEvery = 5 * time.Second

// limitsRound keeps the rate limits as they stand, if they changed, and waits.
func (o *org) limitsRound() error {
	if err := o.keepLimits(); err != nil {
		return err
	}
	await(o.ctx, nil, limitsEvery)
	return nil
}

func (o *org) keepLimits() error {
	text, err := json.Marshal(o.client.Budgets())
	if err != nil || string(text) == o.limits {
		return err
	}
	_, err = o.merge(o.ctx, batch{Batch: state.Batch{Set: []state.Cell{{Hash: "facts", Field: "limits", Value: string(text)}}}})
	if err == nil {
		o.limits = string(text)
	}
	return err
}

// rateLimits reads what the owner kept.
func rateLimits(facts map[string]string) ([]okta.Budget, error) {
	text := facts["limits"]
	if text == "" {
		return nil, nil
	}
	var limits []okta.Budget
	if err := json.Unmarshal([]byte(text), &limits); err != nil {
		return nil, fmt.Errorf("what is kept of the rate limits: %w", err)
	}
	return limits, nil
}

// Memory tells how many bytes Redis uses, and may use: 0 is without a limit. Of
// the embedded store both are 0.
func (e *Engine) Memory(ctx context.Context) (used, most int64, err error) {
	used, most, err = e.store.Memory(ctx)
	return used, most, unavailable(err)
}
