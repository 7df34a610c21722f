package postgres

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// scramRounds is what PostgreSQL itself uses.
const scramRounds = 4096

// credential is the replication password of one epoch of one store.
func credential(root []byte, store string, epoch uint64) string {
	h := hmac.New(sha256.New, root)
	fmt.Fprintf(h, "%s|%d", store, epoch)
	return hex.EncodeToString(h.Sum(nil))
}

// readSecret reads a store's root secret.
func readSecret(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("root secret: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("root secret: others may read %s (%04o): chmod 600 it", path, info.Mode().Perm())
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("root secret: %w", err)
	}
	secret := []byte(strings.TrimSpace(string(raw)))
	if len(secret) < 16 {
		return nil, fmt.Errorf("root secret: %s holds fewer than 16 bytes", path)
	}
	return secret, nil
}

// verifier is what PostgreSQL stores of a password (RFC 5803), made here so that
// the password is in no statement and no log.
func verifier(password string) (string, error) {
	salt := make([]byte, 16)
	if _, err := rand.Read(salt); err != nil {
		return "", fmt.Errorf("salt: %w", err)
	}
	stored, server, err := scramKeys(password, salt, scramRounds)
	if err != nil {
		return "", err
	}
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("SCRAM-SHA-256$%d:%s$%s:%s", scramRounds, b64(salt), b64(stored), b64(server)), nil
}

// scramKeys derives StoredKey and ServerKey (RFC 5802).
func scramKeys(password string, salt []byte, rounds int) (stored, server []byte, err error) {
	salted, err := pbkdf2.Key(sha256.New, password, salt, rounds, sha256.Size)
	if err != nil {
		return nil, nil, fmt.Errorf("scram: %w", err)
	}
	mac := func(what string) []byte {
		h := hmac.New(sha256.New, salted)
		h.Write([]byte(what))
		return h.Sum(nil)
	}
	sum := sha256.Sum256(mac("Client Key"))
	return sum[:], mac("Server Key"), nil
}

// verifies says whether password is the one that a stored verifier was made of.
func verifies(stored, password string) bool {
	rest, ok := strings.CutPrefix(stored, "SCRAM-SHA-256$")
	if !ok {
		return false
	}
	head, keys, ok := strings.Cut(rest, "$")
	roundsText, saltText, ok2 := strings.Cut(head, ":")
	storedText, _, ok3 := strings.Cut(keys, ":")
	if !ok || !ok2 || !ok3 {
		return false
	}
	rounds, err := strconv.Atoi(roundsText)
	if err != nil || rounds < 1 || rounds > 1<<20 {
		return false
	}
	salt, err := base64.StdEncoding.DecodeString(saltText)
	if err != nil {
		return false
	}
	want, err := base64.StdEncoding.DecodeString(storedText)
	if err != nil {
		return false
	}
	have, _, err := scramKeys(password, salt, rounds)
	return err == nil && subtle.ConstantTimeCompare(have, want) == 1
}

// howFarBack is how many epochs are tried to find the one that a verifier was made in, where it is
// none of those that the agent remembers. Each run that promotes nobody uses one up.
const howFarBack = 32

// credentialEpoch is the epoch whose credential a stored verifier accepts: one of the likely ones, or
// one of the newest up to last; 0 where none is found.
func credentialEpoch(root []byte, store, stored string, last uint64, likely ...uint64) uint64 {
	tried := slices.Clone(likely)
	for e := last; e > 0 && e+howFarBack > last; e-- {
		tried = append(tried, e)
	}
	for i, e := range tried {
		if e != 0 && !slices.Contains(tried[:i], e) && verifies(stored, credential(root, store, e)) {
			return e
		}
	}
	return 0
}
