namespace PostCopy.Migrate;

/// <summary>A step of a migration failed. The message is for the user: what failed, on which side, and what to do next.</summary>
internal sealed class MigrationException(string message, Exception? inner = null) : IOException(message, inner);

/// <summary>A frozen process died, and with it pages that the destination still lacks.</summary>
internal sealed class MemoryLostException(string message) : IOException(message);

/// <summary>The destination says, behind the hand-off, that it cannot go on. Connecting anew does not help.</summary>
internal sealed class DestinationFailedException(string message) : IOException(message);
