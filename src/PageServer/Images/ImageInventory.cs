namespace PostCopy.Images;

/// <summary>What <c>inventory.img</c> says of the dump as a whole.</summary>
/// <param name="ImageVersion">CRIU's version of the format.</param>
/// <param name="CriuRunId">Names the dump, and CRIU's nftables table; hexadecimal digits and dashes only. Null from a CRIU before 4.0.</param>
/// <param name="NetworkLock">How CRIU locked the network.</param>
/// <param name="HostNetworkNamespaceId">CRIU's own network namespace, in the numbering of this image set; null when not recorded.</param>
internal sealed record ImageInventory(uint ImageVersion, string? CriuRunId, ImageNetworkLock NetworkLock, uint? HostNetworkNamespaceId);
