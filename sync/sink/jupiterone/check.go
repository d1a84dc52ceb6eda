package jupiterone

import (
	"context"
	"errors"
	"fmt"
	"net/http"
)

// noJob is the id of a job that there is not.
const noJob = "00000000-0000-0000-0000-000000000000"

// Check finds out whether JupiterOne takes the key, by asking for a job that there is
// not: it changes nothing. That the key may start jobs it does not prove.
func Check(ctx context.Context, cfg Config) error {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return err
	}
	c := &client{cfg: cfg, http: httpClient(1)}
	defer c.http.CloseIdleConnections()
	_, err = c.job(ctx, noJob)
	e := (*requestError)(nil)
	switch {
	case err == nil:
		return nil
	case errors.As(err, &e) && e.status == http.StatusNotFound && e.code != "":
		return nil // the API answers, and knew the key
	case answered(err, http.StatusNotFound):
		return fmt.Errorf("jupiterone: %w, and not as JupiterOne's API does: check JUPITERONE_API_BASE_URL", err)
	}
	return fmt.Errorf("jupiterone: %w", classify(err))
}
