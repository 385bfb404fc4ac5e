<?php
// Verifies tokens as firebase/php-jwt 7 does with its defaults (no leeway); see README.md.
declare(strict_types=1);

function part(string $text): object
{
    // Like the library: URL-safe alphabet, padding restored, then PHP's own decoder.
    $text = strtr($text, '-_', '+/');
    $text = base64_decode($text . str_repeat('=', (4 - strlen($text) % 4) % 4));
    if ($text === false) {
        throw new UnexpectedValueException('not base64');
    }
    $value = json_decode($text, false, 512, JSON_BIGINT_AS_STRING | JSON_THROW_ON_ERROR);
    if (!is_object($value)) {
        throw new UnexpectedValueException('not a JSON object');
    }
    return $value;
}

function verify(string $token, string $secret, int $now): object
{
    if (strlen($secret) * 8 < 256) {
        throw new DomainException('provided key is too short');
    }
    $parts = explode('.', $token);
    if (count($parts) !== 3) {
        throw new UnexpectedValueException('wrong number of segments');
    }
    [$head64, $body64, $signature64] = $parts;
    $head = part($head64);
    $body = part($body64);
    if (!isset($head->alg) || !is_string($head->alg) || !hash_equals('HS256', $head->alg)) {
        throw new UnexpectedValueException('incorrect key for this algorithm');
    }
    $signature = base64_decode(strtr($signature64, '-_', '+/'));
    if (!hash_equals(hash_hmac('sha256', "$head64.$body64", $secret, true), (string) $signature)) {
        throw new UnexpectedValueException('signature verification failed');
    }
    foreach (['nbf', 'iat', 'exp'] as $name) {
        if (isset($body->$name) && !is_numeric($body->$name)) {
            throw new UnexpectedValueException("payload $name must be a number");
        }
    }
    if (isset($body->nbf) && floor((float) $body->nbf) > $now) {
        throw new UnexpectedValueException('cannot handle token prior to nbf');
    }
    if (!isset($body->nbf) && isset($body->iat) && floor((float) $body->iat) > $now) {
        throw new UnexpectedValueException('cannot handle token prior to iat');
    }
    if (isset($body->exp) && $now >= $body->exp) {
        throw new UnexpectedValueException('expired token');
    }
    return $body;
}

$secret = file_get_contents($argv[1]);
while (($line = fgets(STDIN)) !== false) {
    try {
        $claims = verify(base64_decode(trim($line), true), $secret, time());
        echo 'accept ', base64_encode(json_encode($claims, JSON_UNESCAPED_UNICODE | JSON_THROW_ON_ERROR)), "\n";
    } catch (Throwable $e) {
        echo 'reject ', get_class($e), ': ', strtr($e->getMessage(), "\n", ' '), "\n";
    }
}
